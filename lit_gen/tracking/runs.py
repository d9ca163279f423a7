"""Runs as their folders tell of them: configuration, scores, time. Imports no torch."""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from lit_gen.tracking.score_names import of_kind
from lit_gen.yaml_text import read_yaml

MARK, CONFIG, METRICS, TIMES, ALARMS = "run.json", "config.yaml", "metrics.csv", "times.csv", "alarms"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Run:
    """What a run has left.

    Attributes:
        folder: Where.
        kind: ``fit``, ``validate``, ``test`` or ``predict``.
        end: ``finished``, ``stopped`` or ``failed``; ``running`` without one, which may also mean killed.
        steps: Training batches.
        seconds: From its start to its end, or to the last line of ``metrics.csv``; of all parts, if it went on with an
            earlier run. None where no part's start is known.
        config: The resolved configuration.
        version: The first line of ``config.yaml``: version and commit.
        rows: The lines of ``metrics.csv``, each with the values that it has; those of earlier parts first.
        before: The folders of its earlier parts, the latest first, if it went on in a new one.
    """

    folder: Path
    kind: str
    end: str
    steps: int
    seconds: float | None
    config: dict[str, Any] = field(repr=False)
    version: str = ""
    rows: tuple[dict[str, float], ...] = field(default=(), repr=False)
    before: tuple[Path, ...] = ()

    @property
    def seed(self) -> Any:
        """What ``--seed_everything`` was."""
        return self.config.get("seed_everything")

    @property
    def names(self) -> list[str]:
        """Names of all scores, in the order of the file."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name.startswith(("val/", "test/"))))

    @property
    def monitor(self) -> str | None:
        """The name of the score that chose ``best.ckpt``, if there is one."""
        asked = self._checkpoint.get("monitor")
        if asked is None or asked in self.names:
            return asked
        return next(iter(of_kind(str(asked), self.names)), None)

    @property
    def mode(self) -> str:
        """Whether the smallest (``min``) or the largest (``max``) monitored score is the best."""
        return str(self._checkpoint.get("mode", "min"))

    @property
    def _checkpoint(self) -> dict[str, Any]:
        return self.config.get("checkpoint") or {}

    def final(self, name: str) -> float | None:
        """The last value of a score."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)

    def best(self, name: str) -> float | None:
        """The best value of a score by the run's ``mode``, of trained models; values that are not numbers are none."""
        trained = (row[name] for row in self.rows if name in row and row.get("images_seen") != 0)
        values = [value for value in trained if not math.isnan(value)]
        return (min(values) if self.mode == "min" else max(values)) if values else None


def find_runs(places: Iterable[str | Path]) -> tuple[list[Run], dict[str, int]]:
    """The runs in folders; of a folder that holds runs, its trainings.

    A training that went on with another one of them is one run with it.

    Args:
        places: Folders of runs, or around such.

    Returns:
        The runs in the order of their folders, and how many of other kinds were left out.

    Raises:
        FileNotFoundError: for a place that isn't there, or without any run.
        ValueError: for a damaged file of a run.
    """
    found: dict[Path, Run] = {}
    left_out: dict[str, int] = {}
    for place in map(Path, places):
        if not place.is_dir():
            raise FileNotFoundError(f"{place}: there is no such folder")
        runs = [read_run(folder) for folder in run_folders(place)]
        if not runs:
            raise FileNotFoundError(f"{place}: neither a run's folder nor one that holds runs ({MARK} or {CONFIG})")
        for run in runs:
            if run.kind == "fit" or run.folder == place:
                found[run.folder.resolve()] = run
            else:
                left_out[run.kind] = left_out.get(run.kind, 0) + 1
    earlier = {before.resolve() for run in found.values() for before in run.before}
    return [run for folder, run in found.items() if folder not in earlier], left_out


def run_folders(place: Path) -> Iterator[Path]:
    """The folders of runs in and below a folder, in the order of their names."""
    for folder, below, files in os.walk(place):
        below.sort()
        if MARK in files or (CONFIG in files and METRICS in files):
            below.clear()
            yield Path(folder)


def read_run(folder: str | Path) -> Run:
    """What a run's folder tells, with the parts before it if it went on with another run that is still there.

    Raises:
        ValueError: for a damaged file.
    """
    run = _read_alone(Path(folder))
    parts = tuple(_parts_before(run))
    for before in parts:
        part = _read_alone(before)
        first = min((row["step"] for row in run.rows if "step" in row), default=math.inf)
        kept = tuple(row for row in part.rows if row.get("step", 0) < first)
        seconds = [time for time in (part.seconds, run.seconds) if time is not None]
        total = sum(seconds) if seconds else None
        run = replace(run, rows=kept + run.rows, seconds=total, steps=run.steps or part.steps)
    return replace(run, before=parts)


def _parts_before(run: Run) -> list[Path]:
    """The folders of the runs that a training went on with, the latest first."""
    found: list[Path] = []
    folder, config = run.folder, run.config
    while run.kind == "fit" and (given := config.get("ckpt_path")):
        checkpoint = Path(str(given))
        before = checkpoint.parent.parent
        if checkpoint.parent.name != "checkpoints":
            break
        if not (before / CONFIG).is_file():  # the path is as seen from where the run was started
            before = folder.parent / before.name
        if not (before / CONFIG).is_file() or before.resolve() in {path.resolve() for path in (run.folder, *found)}:
            break
        found.append(before)
        folder, (config, _) = before, _config(before)
    return found


def _read_alone(folder: Path) -> Run:
    mark = _mark(folder / MARK)
    config, version = _config(folder)
    rows = _rows(folder / METRICS)
    steps = mark.get("step")
    if not isinstance(steps, int):
        steps = int(max((row.get("step", -1.0) for row in rows), default=-1)) + 1
    end = mark.get("end") or "running" if mark else "finished"
    kind = str(mark.get("kind", "fit"))
    return Run(folder, kind, end, steps, _seconds(mark, folder / METRICS), config, version, tuple(rows))


def _mark(path: Path) -> dict[str, Any]:
    if not path.is_file():  # of an earlier version
        return {}
    try:
        mark = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, not JSON ({error})") from None
    if not isinstance(mark, dict):
        raise ValueError(f"{path}: damaged, not what a run writes")
    return mark


def _config(folder: Path) -> tuple[dict[str, Any], str]:
    path = folder / CONFIG
    if not path.is_file():  # it is written once the model is built
        return {}, ""
    try:
        text = path.read_text()
        config = read_yaml(text, _Loader)
    except ValueError as error:
        raise ValueError(f"{path}: damaged, {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: damaged, not a configuration")
    return config, text.partition("\n")[0].lstrip("# ") if text.startswith("#") else ""


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            row = {}
            for name, text in line.items():
                with suppress(ValueError, TypeError):  # empty, or half a line of a process that was killed
                    row[name] = float(text)
            rows.append(row)
    return rows


def _seconds(mark: dict[str, Any], metrics: Path) -> float | None:
    try:
        started = datetime.fromisoformat(mark["started"]).timestamp()
        ended = datetime.fromisoformat(mark["ended"]).timestamp() if "ended" in mark else metrics.stat().st_mtime
    except (KeyError, ValueError, TypeError, OSError):
        return None
    return max(0.0, ended - started)
