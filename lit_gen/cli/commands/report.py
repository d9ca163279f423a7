"""``lit-gen report``: runs as one HTML file that is read without a network. Imports no torch."""

import sys
from pathlib import Path

from lit_gen.cli.words import CommandParser, note, report
from lit_gen.tracking.report import write_report
from lit_gen.tracking.runs import find_runs, read_run


def run(arguments: list[str]) -> None:
    """Write the file; a mistake is one line and exit status 2."""
    text = (
        "Runs as one HTML file for any browser, without a network: curves, pictures and histograms over time, what "
        "monitors said, data, models, configurations and how they differ."
    )
    command = CommandParser("report", text)
    command.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or folders that hold runs: trainings")
    command.add_argument("--out", metavar="FILE.html", help="the file (report.html)", default="report.html")
    options = command.parse_args(arguments)
    out = Path(options.out)
    try:
        if out.suffix not in (".html", ".htm") or out.is_dir():
            raise ValueError(f"--out {out}: the name of a file that ends in .html")
        runs, left_out = find_runs(options.runs)
        if not runs:
            raise ValueError(f"{', '.join(options.runs)}: no training among {sum(left_out.values())} runs")
        write_report(runs, out)
    except (OSError, ValueError) as error:
        sys.exit(report(f"report: {error}"))
    if left_out:
        told = ", ".join(f"{count} of {kind}" for kind, count in sorted(left_out.items()))
        note(f"note: left out, as no trainings: {told}; name their folders to see them")
    print(f"lit-gen: {len(runs)} run{'' if len(runs) == 1 else 's'} in {out}, {out.stat().st_size / 1e6:.1f} MB")


def report_on(folder: Path) -> None:
    """Write ``report.html`` into a run's folder, if that is there; what goes wrong is told and ends nothing."""
    if not folder.is_dir():
        return
    try:
        write_report([read_run(folder)], folder / "report.html")
    except Exception as error:  # the run is worth more than a page about it
        note(f"warning: no report.html: {' '.join(str(error).split())} ({type(error).__name__})")
