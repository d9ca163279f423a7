"""The sections of a report as HTML: all but the curves, which the page's script draws."""

import re
from collections.abc import Sequence
from typing import Any

from lit_gen.tracking.comparison import Group, chosen_scores
from lit_gen.tracking.report.markup import Markup, alone, folded, listing, table, text
from lit_gen.tracking.report.records import card_of, configuration_of, data_of, end_of, sentences_of
from lit_gen.tracking.runs import Run
from lit_gen.tracking.tables import NONE, clock, option_table, score_table

LETTERS = 150_000  # of a configuration or a card, at most
OPTIONS = 200  # that differ, at most
SENTENCES = 200  # of a run, at most
CLASSES = 50  # of a data set, at most
HEADINGS = {
    "pictures": "Pictures over time",
    "histograms": "Scores of the discriminators over time",
}


def names_of(runs: Sequence[Run]) -> list[str]:
    """How runs are called: by experiment and time, if that tells them apart, else by the whole paths."""
    short = ["/".join(run.folder.resolve().parts[-2:]) for run in runs]
    return short if len({*short}) == len(short) else [str(run.folder) for run in runs]


def overview(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """A row for each run."""
    rows = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        swatch = Markup(f'<span class="swatch run-{number % 10}"></span>{number + 1}: {alone(name)}')
        images = max((row["images_seen"] for row in run.rows if "images_seen" in row), default=None)
        end = Markup(f'<span class="bad">{text(run.end)}</span>') if run.end in ("failed", "running") else run.end
        best = NONE if run.monitor is None else _number(run.best(run.monitor))
        last = NONE if run.monitor is None else _number(run.final(run.monitor))
        seen = NONE if images is None else f"{images:,.0f}"
        seed = NONE if run.seed is None else run.seed
        rows.append(
            [
                swatch,
                end,
                seed,
                f"{run.steps:,}",
                seen,
                clock(run.seconds),
                run.monitor or NONE,
                best,
                last,
                _version(run),
            ]
        )
    header = ["run", "end", "seed", "steps", "images", "time", "monitored", "best", "last", "code"]
    return _section("Runs", table(header, rows))


def seeds(groups: Sequence[Group], runs: Sequence[Run]) -> Markup:
    """Runs of one configuration together, if there are such."""
    groups = [group for group in groups if len(group.runs) > 1]
    if not groups:
        return Markup("")
    columns = [*zip(*score_table(groups, chosen_scores(groups)), strict=True)][2:]
    told = "Runs that differ in the seed alone, as mean ± standard deviation over seeds (n − 1)."
    return _section("Seeds together", f"<p>{told}</p>\n{table(['', *_columns(groups, runs)], columns)}")


def said(runs: Sequence[Run], names: Sequence[str], notes: Sequence[Sequence[str]]) -> Markup:
    """How each run ended, what its monitors said, and what this page shows less of."""
    content = ""
    for number, (run, told) in enumerate(zip(runs, notes, strict=True)):
        sentences = [end_of(run), *([] if run.rows else ["Nothing was recorded: there is no row in metrics.csv."])]
        found = sentences_of(run)
        sentences += found[:SENTENCES]
        if len(found) > SENTENCES:
            sentences.append(f"{len(found) - SENTENCES:,} more sentences are in its folder.")
        content += f'<div data-run="{number}">{_heading(names, number)}{listing([*sentences, *told])}</div>\n'
    return _section("What was said", content)


def slides(kind: str, found: Sequence[dict[str, Any]], names: Sequence[str]) -> Markup:
    """Frames for pictures or histograms, which a slider moves through time, for each of their kinds.

    Args:
        kind: ``pictures`` or ``histograms``.
        found: Of each run the page's data.
        names: Of the runs.
    """
    content = ""
    for name in dict.fromkeys(name for run in found for name in run[kind]):
        members = [number for number, run in enumerate(found) if name in run[kind]]
        steps = sorted({row[0] for number in members for row in _rows(found[number][kind][name])})
        if not steps:
            continue
        inner = '<img alt="">' if kind == "pictures" else '<svg role="img" aria-label="Histogram"></svg>'
        look = "picture" if kind == "pictures" else "score"
        figures = "".join(
            f'<figure class="{look}" data-run="{number}" data-kind="{text(name)}">'
            f'<figcaption>{_label(names, number)}<span class="at"></span></figcaption>{inner}</figure>\n'
            for number in members
        )
        content += (
            f'<div data-slides="{kind}"><h3>{alone(name)}</h3>\n{_legend(kind)}'
            f'<div class="slider"><input type="range" min="0" max="{len(steps) - 1}" value="{len(steps) - 1}" '
            f'data-steps="{",".join(map(str, steps))}" aria-label="Step of {text(name)}"><output></output></div>\n'
            f'<div class="pictures">{figures}</div></div>\n'
        )
    return _section(HEADINGS[kind], content) if content else Markup("")


def data(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """What each run learned from; runs with the same data together."""
    summaries: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        if found := data_of(run):
            summaries.setdefault(_summary(found), []).append(number)
    content = ""
    for summary, numbers in summaries.items():
        content += (_heading(names, *numbers) if len(runs) > 1 else "") + summary
    return _section("Data", content) if content else Markup("")


def models(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """The cards of the trained models."""
    cards = [(number, card) for number, run in enumerate(runs) if (card := card_of(run))]
    content = "".join(
        folded(Markup(_label(names, number)), f'<pre class="prose">{text(_cut(card, "model/README.md"))}</pre>\n')
        for number, card in cards
    )
    return _section("Model cards", content) if content else Markup("")


def configurations(groups: Sequence[Group], runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """The options in which the runs differ, then all of each."""
    content = ""
    if len(groups) > 1:
        header = ["option", *_columns(groups, runs)]
        if rows := [[cell[:500] for cell in row] for row in option_table(groups)[1:]]:
            content += "<h3>Options that differ</h3>\n" + table(header, rows[:OPTIONS])
            content += f"<p>{len(rows) - OPTIONS:,} more options differ.</p>\n" if len(rows) > OPTIONS else ""
        else:
            content += "<p>The configurations differ in nothing that changes what is learned.</p>\n"
    for number, run in enumerate(runs):
        if told := configuration_of(run):
            content += folded(Markup(_label(names, number)), f"<pre>{text(_cut(told, 'config.yaml'))}</pre>\n")
    return _section("Configuration", content) if content else Markup("")


def _columns(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    """The numbers of the runs of each group."""
    places = {id(run): number for number, run in enumerate(runs, 1)}
    numbers = [[str(places[id(run)]) for run in group.runs] for group in groups]
    return [f"run{'s' if len(members) > 1 else ''} {', '.join(members)}" for members in numbers]


def _section(title: str, content: str) -> Markup:
    return Markup(f"<section><h2>{title}</h2>\n{content}</section>\n")


def _label(names: Sequence[str], number: int) -> str:
    return f'<span><span class="swatch run-{number % 10}"></span>{number + 1}: {alone(names[number])}</span>'


def _heading(names: Sequence[str], *numbers: int) -> str:
    return f"<h3>{', '.join(_label(names, number) for number in numbers)}</h3>\n"


def _legend(kind: str) -> str:
    if kind == "pictures":
        return ""
    return '<p class="quiet"><span class="swatch real"></span>real <span class="swatch fake"></span>generated</p>\n'


def _rows(found: Any) -> list[list[Any]]:
    """Of a kind of pictures, or of both sides of a histogram."""
    return found if isinstance(found, list) else [row for side in found.values() for row in side]


def _version(run: Run) -> str:
    """Of the code, its commit in seven letters."""
    told = re.sub(r"(commit [0-9a-f]{7})[0-9a-f]+", r"\1", run.version)
    return told.replace(", modified True", ", modified").replace(", modified False", "")


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def _cut(told: str, name: str) -> str:
    if len(told) <= LETTERS:
        return told
    return f"{told[:LETTERS]}\n… the first {LETTERS:,} of {len(told):,} letters; all are in {name} of the run's folder"


def _summary(found: dict[str, Any]) -> str:
    """``data.json`` as a table; the data of two domains beside each other."""
    rows = []
    for name, value in found.items():
        if value in ({}, [], None, ""):
            continue
        if isinstance(value, dict):
            parts = [
                f"{key}: {count:,}" if isinstance(count, int) else f"{key}: {count}" for key, count in value.items()
            ]
            more = f", … {len(parts) - CLASSES:,} more" if len(parts) > CLASSES else ""
            rows.append([name.replace("_", " "), ", ".join(parts[:CLASSES]) + more])
        else:
            told = " × ".join(map(str, value)) if name == "image_shape" and isinstance(value, list) else str(value)
            rows.append([name.replace("_", " "), told[:2000]])
    return table(["", ""], rows)
