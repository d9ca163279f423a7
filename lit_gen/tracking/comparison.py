"""Runs side by side: of one configuration the mean over seeds, and how configurations differ. Imports no torch."""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lit_gen.tracking.runs import Run
from lit_gen.tracking.score_names import of_kind

# Where a run lies, what it is called and what it shows while it runs: nothing of this changes what is learned.
PLACES = (
    "seed_everything", "experiment", "ckpt_path", "weights_only", "trust", "config", "report",
    "trainer.default_root_dir", "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.logger",
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """A mean over runs.

    Attributes:
        mean: Of the runs that have the value.
        deviation: The standard deviation over them, with n - 1; None of a single one.
        count: n.
    """

    mean: float
    deviation: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.deviation is None else f" ± {self.deviation:.2g}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no numbers that are none."""
        values = {"mean": self.mean, "std": self.deviation}
        return {name: v if v is None or math.isfinite(v) else None for name, v in values.items()} | {"n": self.count}


@dataclass(frozen=True)
class Group:
    """Runs whose configurations differ in the seed alone, and that have ended alike.

    Attributes:
        runs: At least one.
        options: The configuration by the names of options, without where the run lies.
    """

    runs: tuple[Run, ...]
    options: dict[str, Any]

    @property
    def end(self) -> str:
        """How all of them ended."""
        return self.runs[0].end

    @property
    def monitor(self) -> str | None:
        """The name of the score that chose ``best.ckpt``."""
        return self.runs[0].monitor

    @property
    def mode(self) -> str:
        """The direction of the monitored score."""
        return self.runs[0].mode

    @property
    def names(self) -> list[str]:
        """Names of all scores of any run."""
        return list(dict.fromkeys(name for run in self.runs for name in run.names))

    def final(self, name: str) -> Spread | None:
        """The last value of a score; None where no run has it."""
        return spread(run.final(name) for run in self.runs)

    def best(self, name: str) -> Spread | None:
        """The best value of a score by the runs' ``mode``."""
        return spread(run.best(name) for run in self.runs)

    def of(self, measured: Callable[[Run], float | None]) -> Spread | None:
        """Another number of each run, such as its seconds."""
        return spread(map(measured, self.runs))


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the values that there are."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    finite = all(map(math.isfinite, known))
    mean = statistics.fmean(known) if finite else math.nan
    return Spread(mean, (statistics.stdev(known) if finite else math.nan) if len(known) > 1 else None, len(known))


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Runs by their configuration; the best monitored score first, where one score is monitored in all groups."""
    parts: dict[str, tuple[list[Run], dict[str, Any]]] = {}
    for run in runs:
        options = {name: value for name, value in flat(run.config) if not _is_place(name)}
        key = json.dumps([run.kind, run.end, sorted(options.items())], default=str)
        parts.setdefault(key, ([], options))[0].append(run)
    groups = [Group(tuple(members), options) for members, options in parts.values()]
    if len({(group.monitor, group.mode) for group in groups}) == 1 and groups and groups[0].monitor is not None:
        groups.sort(key=lambda group: _rank(group, str(group.monitor)))
    return groups


def _rank(group: Group, name: str) -> float:
    best = group.best(name)
    if best is None or math.isnan(best.mean):
        return math.inf
    return best.mean if group.mode == "min" else -best.mean


def _is_place(name: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in PLACES)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A nested configuration by the names of options: ``model`` is a class, ``model.latent_dim`` its argument."""
    if isinstance(value, dict) and "class_path" in value:
        yield name, str(value["class_path"])
        for key, item in (value.get("init_args") or {}).items():
            yield from flat(item, f"{name}.{key}")
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


def differences(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Options that differ between groups: the value in each, None where a group doesn't have the option.

    An argument that only some groups have counts if it differs among them: else the classes tell it.
    """
    names = dict.fromkeys(name for group in groups for name in group.options)
    found = {}
    for name in names:
        values = [group.options[name] for group in groups if name in group.options]
        if any(value != values[0] for value in values):
            found[name] = [group.options.get(name) for group in groups]
    return found


def chosen_scores(groups: Sequence[Group], asked: Sequence[str] | None = None) -> list[str]:
    """Names of the scores to show: monitored ones first, then all others, those of validation before those of test.

    Args:
        groups: Of runs.
        asked: Whole names or kinds such as ``fd``, in the place of all.

    Raises:
        ValueError: for a name that no run has.
    """
    monitored = [group.monitor for group in groups if group.monitor is not None]
    names = list(dict.fromkeys(name for group in groups for name in group.names))
    if asked is None:
        known = [name for name in monitored if name in names]
        return list(dict.fromkeys(known + sorted(names, key=lambda name: not name.startswith("val/"))))
    chosen: list[str] = []
    for name in asked:
        meant = [name] if name in names else [*of_kind(name, names), *of_kind(name, names, "test")]
        meant = meant or [full for full in (f"val/{name}", f"test/{name}") if full in names]
        if not meant:
            raise ValueError(f"--metrics {name}: no run has such a score; there are {', '.join(names) or 'none'}")
        chosen += meant
    return list(dict.fromkeys(chosen))
