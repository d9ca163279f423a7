"""``lit-gen compare``: runs side by side, seeds of one configuration as mean and deviation. Imports no torch."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from lit_gen.cli.words import CommandParser, report
from lit_gen.tracking.comparison import Group, chosen_scores, differences, grouped
from lit_gen.tracking.runs import find_runs
from lit_gen.tracking.tables import option_table, score_table


def run(arguments: list[str]) -> None:
    """Print the table, or its content as JSON; a mistake is one line and exit status 2."""
    text = (
        "Runs side by side. Those whose configurations differ in the seed alone are one row, with mean and standard "
        "deviation over seeds; then the options in which the rows differ."
    )
    command = CommandParser("compare", text)
    command.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or folders that hold runs: trainings")
    command.add_argument("--metrics", nargs="+", help="scores to show, by whole names or kinds such as fd (all)")
    command.add_argument("--json", action="store_true", help="print all as JSON")
    options = command.parse_args(arguments)
    try:
        runs, left_out = find_runs(options.runs)
        groups = grouped(runs)
        names = chosen_scores(groups, options.metrics)
    except (OSError, ValueError) as error:
        sys.exit(report(f"compare: {error}"))
    if left_out:
        told = ", ".join(f"{count} of {kind}" for kind, count in sorted(left_out.items()))
        print(f"lit-gen: note: left out, as no trainings: {told}; name their folders to see them", file=sys.stderr)
    if options.json:
        print(json.dumps(as_dict(groups, names), indent=2))
    else:
        print_comparison(groups, names)


def print_comparison(groups: Sequence[Group], names: Sequence[str]) -> None:
    """The table of scores, the options that differ, and which runs each row stands for.

    Args:
        groups: A row each.
        names: Scores to show; of a group's monitored one its best value too.
    """
    _print_columns(score_table(groups, names))
    if lines := option_table(groups):
        print("\noptions that differ:")
        _print_columns(lines if len(lines) > len(groups) else [*zip(*lines, strict=True)])
    print("\nruns:")
    for number, group in enumerate(groups, 1):
        for member in group.runs:
            print(f"  {number}  seed {member.seed}  {member.folder}")
        if len(versions := {member.version for member in group.runs}) > 1:
            print(f"  {number}  warning: of several versions of the code: {'; '.join(sorted(versions))}")


def as_dict(groups: Sequence[Group], names: Sequence[str]) -> dict[str, Any]:
    """The comparison as plain values: ``rows`` and ``differences``."""
    rows = []
    for group in groups:
        scores = {}
        for name in names:
            values = {"last": group.final(name), "best": group.best(name) if name == group.monitor else None}
            if known := {when: value.as_dict() for when, value in values.items() if value is not None}:
                scores[name] = known
        told = ("seed", "steps", "seconds", "version")
        runs = [{"folder": str(run.folder), **{key: getattr(run, key) for key in told}} for run in group.runs]
        monitored = {"monitor": group.monitor, "mode": group.mode}
        rows.append({"n": len(runs), "end": group.end, **monitored, "scores": scores, "runs": runs})
    return {"rows": rows, "differences": differences(groups)}


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Lines whose columns are as wide as their widest cell; nothing is cut off or wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
