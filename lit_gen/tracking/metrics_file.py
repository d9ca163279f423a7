"""``metrics.csv`` and ``times.csv`` of a run's folder, in which a run that goes on goes on."""

import csv
import io
import time
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.files import whole_file
from lit_gen.tracking.runs import TIMES

COUNTERS = ("updates/", "skipped/")  # columns of every row; the others with a slash tell which kind of row it is


class MetricsFile(CSVLogger):
    """Losses, scores and counters, a row for each step that is logged, on the disk as soon as it is known.

    ``times.csv`` beside it holds what the clock says of each of these steps, which no seed repeats: ``step,seconds``,
    the seconds that the run has taken by then, without the time between the parts of one that went on.

    Args:
        folder: The run's folder. Rows that files there hold already stay.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)
        self._began = time.monotonic()

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the rows, in the first process."""
        if self._experiment is None:
            self._experiment = _Rows(self.log_dir, self._began)
        return self._experiment

    @rank_zero_only
    def go_on_from(self, step: int) -> None:
        """Leave the rows of the first ``step`` batches; what was trained beyond them comes again."""
        self.experiment.go_on_from(step)


class _Rows(ExperimentWriter):
    """Appends to what is there, where the framework's own deletes it."""

    _again: int | None = None  # the step of a validation that may come again

    def __init__(self, log_dir: str, began: float) -> None:
        super().__init__(log_dir)
        self._times = _Times(Path(log_dir) / TIMES, began)

    def go_on_from(self, step: int) -> None:
        cut_rows(Path(self.metrics_file_path), step)
        self._times.go_on_from(step)
        self._again = step - 1  # by which the batch is known that the checkpoint was saved after

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        """Add a row; one of the same kind that the run had of this step gives way."""
        if step is not None and step == self._again:
            kind = {name for name in metrics_dict if "/" in name and not name.startswith(COUNTERS)}
            rows = _read(Path(self.metrics_file_path))
            kept = [row for row in rows if row["step"] != str(step) or not any(row.get(name) for name in kind)]
            if len(kept) < len(rows):
                _write(Path(self.metrics_file_path), self.metrics_keys, kept)
        super().log_metrics(metrics_dict, step)
        if step is not None:
            self._times.add(step)

    def _check_log_dir_exists(self) -> None:
        if Path(self.metrics_file_path).is_file():
            self.metrics_keys = _header(Path(self.metrics_file_path))

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        _write(path, fieldnames, _read(path))


class _Times:
    """Appends to ``times.csv``, once a step, from where an earlier part of the run has left it."""

    def __init__(self, path: Path, began: float) -> None:
        self.path, self._began = path, began
        self._last, self._before = self._read_end()

    def go_on_from(self, step: int) -> None:
        cut_rows(self.path, step)
        self._last, self._before = self._read_end()

    def add(self, step: int) -> None:
        if step <= self._last:
            return
        self._last = step
        with self.path.open("a") as file:
            file.write("" if file.tell() else "step,seconds\n")
            file.write(f"{step},{self._before + time.monotonic() - self._began:.2f}\n")

    def _read_end(self) -> tuple[int, float]:
        rows = _read(self.path)
        return (int(rows[-1]["step"]), float(rows[-1]["seconds"])) if rows else (-1, 0.0)


def cut_rows(path: Path, step: int) -> None:
    """Leave the rows of a CSV file whose column ``step`` is below ``step``, and no row that a kill has cut short."""
    if not path.is_file():
        return
    rows = _read(path)
    _write(path, list(rows[0]) if rows else _header(path), [row for row in rows if int(row["step"]) < step])


def add_rows(path: Path, names: list[str], rows: list[list[Any]]) -> None:
    """Append rows, whose first column is their common step; those of that step or later ones give way.

    Such rows are there where a run goes on from a checkpoint that it had left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    there = _read(path)
    if there and int(there[-1]["step"]) >= rows[0][0]:
        cut_rows(path, rows[0][0])
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(rows if path.stat().st_size else [names, *rows])


def _header(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _read(path: Path) -> list[dict[str, str]]:
    """All whole rows."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return list(csv.DictReader(lines))


def _write(path: Path, names: list[str], rows: list[dict[str, str]]) -> None:
    with whole_file(path) as file:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        file.write(text.getvalue().encode())
