"""What a run's folder holds beside its curves and pictures: alarms, histograms, data, model, and how it ended."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from lit_gen.files import read_json
from lit_gen.tracking.runs import ALARMS, CONFIG, MARK, Run

T = TypeVar("T")
Step = TypeVar("Step", int, float)
HISTOGRAMS = 100  # of a name, at most


def up_to_the_next(parts: Sequence[dict[Step, T]]) -> Iterator[dict[Step, T]]:
    """What the parts of a run hold by steps, the earlier first, each without what a later one has done again."""
    for i, part in enumerate(parts):
        end = min((step for later in parts[i + 1 :] for step in later), default=None)
        yield {step: value for step, value in part.items() if end is None or step < end}


def spread_evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def end_of(run: Run) -> str:
    """How a run ended, in a sentence."""
    mark = read_json(run.folder / MARK)
    steps = f"{run.steps:,} step{'' if run.steps == 1 else 's'}"
    told = {
        "finished": f"Finished after {steps}",
        "stopped": f"Stopped by a signal after {steps}",
        "failed": f"Failed after {steps}",
    }.get(run.end, f"No end is recorded, so it still runs or was killed; {steps} so far")
    if "error" in mark:
        told += f", by {mark['error']}"
    with suppress(KeyError, TypeError, ValueError):
        told += f". Started on {datetime.fromisoformat(mark['started']):%Y-%m-%d at %H:%M}"
    sessions = mark.get("sessions")
    if isinstance(sessions, list) and sessions:
        told += f". Went on {len(sessions)} time{'' if len(sessions) == 1 else 's'} in its folder"
    elif run.before:
        told += f". Went on with {', '.join(folder.name for folder in run.before)}"
    return f"{told}."


def sentences_of(run: Run) -> list[str]:
    """What its data were warned of, its alarms in their order, and updates that were left out."""
    data = read_json(run.folder / "data.json").get("warnings")
    alarms = [
        (int(line["step"]), line["sentence"])
        for path in sorted((run.folder / ALARMS).glob("*.csv"))
        for line in read_lines(path)
        if (line.get("step") or "").isdigit() and line.get("sentence")
    ]
    skipped = {name: value for row in run.rows for name, value in row.items() if name.startswith("skipped/")}
    left_out = [f"{value:,.0f} updates of {name[8:]} were left out." for name, value in skipped.items() if value > 0]
    warned = [f"Data: {text}" for text in data] if isinstance(data, list) else []
    return [*warned, *(sentence for _, sentence in sorted(alarms)), *left_out]


def histograms_of(run: Run) -> dict[str, dict[str, list[list[Any]]]]:
    """The histograms of scores by what is scored, then ``real`` or ``fake``: step, lowest and highest bound, counts."""
    names = {path.stem for folder in (*run.before, run.folder) for path in folder.glob("histograms/*.csv")}
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for name in sorted(names):
        paths = [folder / "histograms" / f"{name}.csv" for folder in (*reversed(run.before), run.folder)]
        bins: dict[int, list[tuple[float, float, int]]] = {}
        for part in up_to_the_next([_read_bins(path) for path in paths]):
            bins |= part
        side, _, rest = name.partition("_")
        scored, side = (rest, side) if side in ("real", "fake") else (name, "")
        steps = spread_evenly(sorted(bins), HISTOGRAMS)
        rows = [[s, bins[s][0][0], bins[s][-1][1], [count for _, _, count in bins[s]]] for s in steps]
        found.setdefault(scored, {})[side] = rows
    return found


def data_of(run: Run) -> dict[str, Any]:
    """What ``data.json`` says."""
    return read_json(run.folder / "data.json")


def card_of(run: Run) -> str:
    """The text of the trained model's card, without what is for machines."""
    text = read_text(run.folder / "model" / "README.md")
    return text.split("---\n", 2)[-1].strip() if text.startswith("---\n") else text.strip()


def configuration_of(run: Run) -> str:
    """The text of ``config.yaml``."""
    return read_text(run.folder / CONFIG)


def read_text(path: Path) -> str:
    """A file's text, nothing if there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def read_lines(path: Path) -> Iterable[dict[str, str]]:
    """The lines of a CSV file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [*csv.DictReader(file)]


def _read_bins(path: Path) -> dict[int, list[tuple[float, float, int]]]:
    found: dict[int, list[tuple[float, float, int]]] = {}
    for line in read_lines(path):
        with suppress(KeyError, TypeError, ValueError):  # half a line of a process that was killed
            values = (float(line["low"]), float(line["high"]), int(line["count"]))
            found.setdefault(int(line["step"]), []).append(values)
    return found
