"""The curves of a run, thinned out for a plot: no extreme is lost, and a value that is no number stays one."""

import bisect
import csv
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lit_gen.tracking.report.records import up_to_the_next
from lit_gen.tracking.runs import TIMES, Run

POINTS = 1000  # of a curve, at most
POINTS_OF_RUN = 20_000  # of all of its curves together
AXES = ("step", "epoch", "images_seen")
Point = tuple[float, float]  # the step and the value

# What a curve is, by the beginning of its name; the first that fits.
KINDS = {
    "Scores": ("val/", "test/"),
    "Training": ("train/",),
    "The game of the players": ("game/",),
    "Latents": ("latents/",),
    "Learning rates": ("lr",),
    "Counters": ("updates/", "skipped/"),
    "Others": ("",),
}


def curves_of(run: Run) -> dict[str, Any]:
    """All curves of a run on common axes, as plain values for JSON.

    Returns:
        ``steps``, ``images`` and ``minutes``, lists of the same length, the latter with None where it isn't known; and
        ``curves`` by name: ``at`` (indices of these lists) with ``values``, and ``of``, the number of values logged.
        A curve that was thinned out has besides ``mean_at`` and ``means``, of each of the parts into which it was
        divided. Values that are no finite numbers are ``"nan"``, ``"inf"`` or ``"-inf"``.
    """
    logged: dict[str, list[Point]] = {}
    for row in run.rows:
        for name in row.keys() - AXES:
            if name and "step" in row:
                logged.setdefault(name, []).append((row["step"], row[name]))
    most = max(20, min(POINTS, POINTS_OF_RUN // max(1, len(logged))))
    thinned = {name: (thin(logged[name], most), len(logged[name])) for name in sorted(logged)}
    steps = sorted({step for (points, means), _ in thinned.values() for step, _ in [*points, *means]})
    place = {step: i for i, step in enumerate(steps)}
    curves = {}
    for name, ((points, means), count) in thinned.items():
        curves[name] = {"at": [place[x] for x, _ in points], "values": [plain(y) for _, y in points], "of": count}
        if means:
            curves[name] |= {"mean_at": [place[x] for x, _ in means], "means": [plain(y) for _, y in means]}
    images = {row["step"]: row["images_seen"] for row in run.rows if "step" in row and "images_seen" in row}
    minutes = {step: seconds / 60 for step, seconds in times_of(run).items()}
    return {
        "steps": [plain(step) for step in steps],
        "images": between(steps, images),
        "minutes": between(steps, minutes),
        "curves": curves,
    }


def kind_of(name: str) -> str:
    """Which of ``KINDS`` a curve belongs to."""
    return next(kind for kind, beginnings in KINDS.items() if name.startswith(beginnings))


def thin(points: Sequence[Point], most: int) -> tuple[list[Point], list[Point]]:
    """At most so many points of a curve, in their order, with its extremes; the means of its parts, if it is thinned.

    It is divided into parts of as many points each, of which the least, the greatest and the first that is no finite
    number are kept.

    Args:
        points: All of it.
        most: At least 4.
    """
    if len(points) <= most:
        return list(points), []
    kept: list[Point] = []
    means: list[Point] = []
    parts = most // 3
    for i in range(parts):
        part = points[i * len(points) // parts : (i + 1) * len(points) // parts]
        finite = [j for j, (_, y) in enumerate(part) if math.isfinite(y)]
        others = [j for j, (_, y) in enumerate(part) if not math.isfinite(y)][:1]
        chosen = {min(finite, key=lambda j: part[j][1]), max(finite, key=lambda j: part[j][1])} if finite else set()
        kept += [part[j] for j in sorted({*chosen, *others})]
        mean = math.fsum(part[j][1] / len(finite) for j in finite) if finite else math.nan
        means.append((part[len(part) // 2][0], mean))
    return kept, means


def times_of(run: Run) -> dict[float, float]:
    """The seconds that a run had taken by each step of ``times.csv``; later parts go on from earlier ones."""
    found: dict[float, float] = {}
    for part in up_to_the_next([_read_times(folder / TIMES) for folder in (*reversed(run.before), run.folder)]):
        before = max(found.values(), default=0.0)
        found |= {step: before + seconds for step, seconds in part.items()}
    return found


def between(steps: Iterable[float], known: dict[float, float]) -> list[Any]:
    """What is known of some steps, at others: linear between two known ones, None outside."""
    xs = sorted(known)
    found: list[Any] = []
    for step in steps:
        i = bisect.bisect_left(xs, step)
        if step in known:
            found.append(plain(known[step]))
        elif 0 < i < len(xs):
            share = (step - xs[i - 1]) / (xs[i] - xs[i - 1])
            found.append(plain(known[xs[i - 1]] + share * (known[xs[i]] - known[xs[i - 1]])))
        else:
            found.append(None)
    return found


def plain(value: float) -> Any:
    """A number in six digits, for JSON: whole ones without a point, others that aren't finite by their name."""
    if not math.isfinite(value):
        return str(value)
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")


def _read_times(path: Path) -> dict[float, float]:
    found: dict[float, float] = {}
    if path.is_file():
        with path.open(newline="", errors="replace") as file:
            for line in csv.DictReader(file):
                with suppress(KeyError, TypeError, ValueError):  # half a line of a process that was killed
                    found[float(line["step"])] = float(line["seconds"])
    return found
