"""Tables of runs side by side, as text in cells. Imports no torch."""

from collections.abc import Sequence
from typing import Any

from lit_gen.tracking.comparison import Group, Spread, differences

NONE = "–"


def score_table(groups: Sequence[Group], names: Sequence[str]) -> list[list[str]]:
    """A header and a row for each group: scores, of the monitored one its best value too, steps and time.

    Args:
        groups: A row each.
        names: Scores to show.
    """
    columns = [*(("best", name) for name in names if any(g.monitor == name for g in groups))]
    columns = sorted([*columns, *(("last", name) for name in names)], key=lambda column: names.index(column[1]))
    header = ["row", "n", "end", *(f"{when} {name.removeprefix('val/')}" for when, name in columns), "steps", "time"]
    rows = [header]
    for number, group in enumerate(groups, 1):
        values = [_cell(group, when, name) for when, name in columns]
        steps, seconds = group.of(lambda run: float(run.steps)), group.of(lambda run: run.seconds)
        time = clock(None if seconds is None else seconds.mean)
        rows.append([str(number), str(len(group.runs)), group.end, *values, _steps(steps), time])
    return rows


def option_table(groups: Sequence[Group]) -> list[list[str]]:
    """A header and a row for each option in which the groups differ, a column for each group; empty if none does."""
    header = ["", *(f"row {number}" for number in range(1, len(groups) + 1))]
    rows = [
        [name, *(option_text(group.options[name]) if name in group.options else NONE for group in groups)]
        for name in differences(groups)
    ]
    return [header, *rows] if rows else []


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def option_text(value: Any) -> str:
    """An option's value in a few letters: null as in YAML, of a class its name without the package."""
    if value is None:
        return "null"
    text = str(value)
    return text.rpartition(".")[2] if isinstance(value, str) and text.replace(".", "").isidentifier() else text


def _cell(group: Group, when: str, name: str) -> str:
    if when == "best" and group.monitor != name:
        return NONE
    value = group.best(name) if when == "best" else group.final(name)
    if value is None:
        return NONE
    return str(value) if value.count == len(group.runs) else f"{value} ({value.count} of {len(group.runs)})"


def _steps(steps: Spread | None) -> str:
    assert steps is not None
    return f"{steps.mean:.0f}" if not steps.deviation else f"{steps.mean:.0f} ± {steps.deviation:.0f}"
