"""Makes docs/results.md from the data files in docs/results/: no figure on that page is typed by hand.

    python scripts/results.py            # writes the page, and the data files in their one form
    python scripts/results.py --check    # writes nothing; fails where one of them isn't what would be written

docs/results/page.yaml has the page's beginning and the order of its sections, quotes.yaml what other files say of
results, and every other file there is a section: its `title`, its `text`, its `tables`, its `rows`.

A row is what commands measure: `commands`, `seeds` (null where there are none), `commit`, `hardware`, `values` (for
each metric what each seed gave: a number, or several, such as a curve; where these weren't kept, `{mean: …, std: …}`),
`shows` (metrics for the table of every row, with their formats), and where there are any `measure` (how
scripts/reproduce.py finds the values), `observed` (values that were noted otherwise), `published` (with its `source`),
`run` (a name that rows of one run share), `takes` (about how long a run is, where no time was kept). `commit` and
`hardware` of a row that hasn't run are null. What else a row has is for tables.

Text and cells are Python's f-strings, in which every row is a name: `{gan_digits.fd_digits_1000:.1f}` is the mean ± the
standard deviation over seeds, `{mean(gan_digits.fd_digits_1000):.1f}` the mean, `{table.NAME}` a table,
`{shipped('gan_digits', 'fd_digits_1000'):.1f}` what the card of shipped weights tells. In a table's cells the row's own
metrics and words are names too.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "results.md"
WEIGHTS = ROOT / "lit_gen" / "pretrained" / "weights"
REQUIRED = ("commands", "seeds", "commit", "hardware", "shows")
NOTE = "<!-- Made by scripts/results.py from docs/results/*.yaml: edit those. -->"


class Summary(NamedTuple):
    """Mean and standard deviation of values that weren't kept."""

    mean: float
    std: float

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}} ± {self.std:{spec}}"


class Measured(np.ndarray):
    """What each seed gave, along the first axis. Formatted: mean ± deviation over seeds, other axes in a line."""

    def __format__(self, spec: str) -> str:
        if self.ndim == 0:
            return format(self.item(), spec or "g")
        if self.ndim > 1:
            return ", ".join(format(self[:, i], spec) for i in range(self.shape[1]))
        there = self[~np.isnan(self)]
        if not len(there):
            return ""
        spread = f" ± {std(there):{spec or 'g'}}" if len(there) > 1 else ""
        missing = f" ({len(there)} of {len(self)} seeds)" if len(there) < len(self) else ""
        return f"{mean(there):{spec or 'g'}}{spread}{missing}"


def mean(values: Any) -> float:
    return values.mean if isinstance(values, Summary) else float(np.mean(np.asarray(values)))


def std(values: Any) -> float:
    return values.std if isinstance(values, Summary) else float(np.std(np.asarray(values), ddof=1))


def each(values: Any, spec: str, separator: str = ", ") -> str:
    """All values, one after the other."""
    return separator.join(format(float(value), spec) for value in np.ravel(values))


def span(values: Any, spec: str, word: str = "–") -> str:
    """The smallest and the largest."""
    return f"{np.nanmin(values):{spec}}{word}{np.nanmax(values):{spec}}"


def percent(values: Any, spec: str) -> str:
    """A share in per cent, without the sign."""
    hundred = Summary(100 * values.mean, 100 * values.std) if isinstance(values, Summary) else 100 * values
    return format(hundred, spec)


def shipped(name: str, score: str) -> float:
    """A score on validation data that the card of shipped weights tells."""
    facts = json.loads((WEIGHTS / name / "config.json").read_text())["facts"]
    return float(facts["scores"][f"val/{score}"])


FUNCTIONS = {"mean": mean, "std": std, "each": each, "span": span, "percent": percent, "shipped": shipped, "np": np}


def value(stored: Any) -> Any:
    """A value of a data file as texts see it."""
    if isinstance(stored, dict):
        return Summary(**stored)
    return np.asarray(stored, dtype=np.float64).view(Measured) if isinstance(stored, list) else stored


def row_names(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """What a row's cells can name."""
    words = {key: word for key, word in row.items() if key not in ("values", "observed", "measure", "shows")}
    words["published"] = SimpleNamespace(**row.get("published", {}))
    metrics = {key: value(stored) for key, stored in {**row.get("values", {}), **row.get("observed", {})}.items()}
    return {"name": name, "label": name, **words, **metrics}


def filled(text: str, names: dict[str, Any], place: str) -> str:
    """The text with its placeholders replaced.

    Raises:
        ValueError: if one of them can't be, with the place.
    """
    try:
        return eval(f"rf'''{text} '''", {**FUNCTIONS, **names})[:-1]  # the blank: for texts that end with a quote
    except Exception as error:
        raise ValueError(f"{place}: {text.strip()[:70]!r}: {type(error).__name__}: {error}") from error


def line(cells: list[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def one_seed(names: dict[str, Any], index: int) -> dict[str, Any]:
    """A row's names with the values of one seed."""
    return {key: word[index : index + 1] if isinstance(word, Measured) else word for key, word in names.items()}


def table(section: dict[str, Any], spec: dict[str, Any], place: str) -> str:
    """A table of rows, or of each of their seeds."""
    names = rows_as_names([section])
    lines = [line(list(spec["columns"])), "|---" * len(spec["columns"]) + "|"]
    for key in spec.get("of", list(section["rows"])):
        row = section["rows"][key]
        own = row_names(key, row)
        seeds = enumerate(row["seeds"]) if spec.get("each") == "seed" else [(None, None)]
        for index, seed in seeds:
            cells = own if index is None else {**one_seed(own, index), "seed": seed}
            where = f"{place}, {key}"
            lines.append(line([filled(cell, {**names, **cells}, where) for cell in spec["columns"].values()]))
    return "\n".join(lines)


def rows_as_names(sections: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows by name, as texts see them."""
    return {key: SimpleNamespace(**row_names(key, row)) for each in sections for key, row in each["rows"].items()}


def rendered(name: str, section: dict[str, Any], names: dict[str, Any]) -> str:
    """A section of the page, without its title."""
    tables = {key: table(section, spec, f"{name}.yaml, table {key}") for key, spec in section.get("tables", {}).items()}
    own = {**names, "table": SimpleNamespace(**tables)}
    return "\n\n".join(filled(paragraph, own, f"{name}.yaml") for paragraph in section["text"].strip().split("\n\n"))


def seconds(row: dict[str, Any]) -> tuple[float, str] | None:
    """The mean time of a run in seconds, and which clock's: the processor's, else the wall's."""
    values = {**row.get("observed", {}), **row.get("values", {})}
    for key, clock in (("cpu_s", "CPU"), ("wall_s", "wall")):
        if key in values:
            stored = value(values[key])
            return (mean(stored[~np.isnan(stored)]) if isinstance(stored, Measured) else mean(stored)), clock
    return None


def duration(given: tuple[float, str] | None, estimate: str | None = None) -> str:
    if given is None:
        return estimate or "not kept"
    return f"{given[0]:.3g} s {given[1]}" if given[0] < 600 else f"{given[0] / 60:.0f} min {given[1]}"


def overview(sections: list[dict[str, Any]]) -> Iterator[str]:
    """The table of all rows, and what its letters stand for."""
    rows = {name: row for section in sections for name, row in section["rows"].items()}
    machines = list(dict.fromkeys(row["hardware"] for row in rows.values() if row["hardware"]))
    columns = ["row", "seeds", "measured", "a run takes", "commit", "on", "published", "source"]
    yield line(columns)
    yield "|---" * len(columns) + "|"
    for name, row in rows.items():
        names, published = row_names(name, row), row.get("published", {})
        shown = [f"{key} {format(names[key], spec)}" for key, spec in row["shows"].items() if key in names]
        figures = [f"{key} {figure}" for key, figure in published.items() if key != "source"]
        about = [duration(seconds(row), row.get("takes")), row["commit"] or "not run yet"]
        cells = [f"`{name}`", ranged(row["seeds"] or []), "; ".join(shown), *about]
        yield line([*cells, letter(machines, row["hardware"]), "; ".join(figures), published.get("source", "")])
    yield ""
    yield "; ".join(f"{letter(machines, machine)}: {machine}" for machine in machines) + "."


def letter(machines: list[str], machine: str | None) -> str:
    """Short for a machine."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[machines.index(machine)] if machine else ""


def ranged(seeds: list[int]) -> str:
    """0 to 19 for many in a row."""
    together = len(seeds) > 3 and seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if together else ", ".join(map(str, seeds)) or "–"


class Dumper(yaml.SafeDumper):
    """One form for all data files: long texts as they are, lists of numbers and commands' words in a line."""


def text_of(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def list_of(dumper: yaml.SafeDumper, items: list) -> yaml.Node:
    short = not any(isinstance(item, str) and len(item) > 40 for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


Dumper.add_representer(str, text_of)
Dumper.add_representer(list, list_of)


def dumped(content: dict[str, Any]) -> str:
    """A data file's text."""
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def load() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The page's beginning and all sections by the names of their files, in the page's order.

    Raises:
        ValueError: for a section that the order lacks, or a row that lacks something or has another's name.
    """
    page = yaml.safe_load((FOLDER / "page.yaml").read_text())
    there = {path.stem for path in FOLDER.glob("*.yaml")} - {"page", "quotes"}
    if set(page["sections"]) != there or len(page["sections"]) != len(there):
        raise ValueError(f"{FOLDER}/page.yaml: sections {page['sections']}: expected each of {sorted(there)} once")
    sections = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in page["sections"]}
    seen: set[str] = set()
    for name, section in sections.items():
        for key, row in section["rows"].items():
            check(f"{name}.yaml, row {key}", key, row, seen)
            seen.add(key)
    return page, sections


def check(place: str, key: str, row: dict[str, Any], seen: set[str]) -> None:
    """Refuse a row that lacks what every row has."""
    if missing := [field for field in REQUIRED if field not in row]:
        raise ValueError(f"{place}: lacks {', '.join(missing)}")
    if not key.isidentifier() or key in seen:
        raise ValueError(f"{place}: expected a name that no other row has, of letters, digits and _")
    counted = len(row["seeds"]) if row["seeds"] else 1
    for metric, stored in {**row.get("values", {}), **row.get("observed", {})}.items():
        if isinstance(stored, list) and len(stored) != counted:
            raise ValueError(f"{place}: {metric} has {len(stored)} values, expected one for each of {counted} seeds")
    if row["commit"] and (unknown := set(row["shows"]) - {*row.get("values", {}), *row.get("observed", {})}):
        raise ValueError(f"{place}: shows {', '.join(sorted(unknown))}, of which it has no value")
    if "source" not in row.get("published", {"source": ""}):
        raise ValueError(f"{place}: published lacks its source")


def made() -> str:
    """The whole page."""
    page, sections = load()
    names = rows_as_names(list(sections.values()))
    parts = [f"# {page['title']}", NOTE, filled(page["text"].strip(), names, "page.yaml")]
    for name, section in sections.items():
        parts += [f"## {section['title']}", rendered(name, section, names)]
    parts += ["## Every row", filled(page["rows_text"].strip(), names, "page.yaml")]
    return "\n\n".join([*parts, "\n".join(overview(list(sections.values())))]) + "\n"


def quotes() -> Iterator[tuple[Path, str]]:
    """What other pages say of results: their paths, and the words with today's figures."""
    names = rows_as_names(list(load()[1].values()))
    for path, texts in yaml.safe_load((FOLDER / "quotes.yaml").read_text()).items():
        for text in texts:
            yield ROOT / path, filled(text, names, "quotes.yaml")


def wanted() -> dict[Path, str]:
    """The page and the data files, as they should be."""
    return {PAGE: made(), **{path: dumped(yaml.safe_load(path.read_text())) for path in FOLDER.glob("*.yaml")}}


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where something would be written")
    arguments = parser.parse_args()
    stale = [path for path, text in wanted().items() if not path.exists() or path.read_text() != text]
    wrong = [f"{path.relative_to(ROOT)} lacks {text!r}" for path, text in quotes() if text not in path.read_text()]
    if arguments.check and stale:
        wrong += [f"{path.relative_to(ROOT)} isn't what scripts/results.py makes" for path in stale]
    elif not arguments.check:
        for path, text in wanted().items():
            path.write_text(text)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
