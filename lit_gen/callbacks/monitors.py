"""Which logged score a monitor means: a whole name, or a kind of score whatever the data and the number of samples."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lit_gen.metrics.scores import SCORES
from lit_gen.tracking.score_names import of_kind

# Beginnings of names that the first validation may add to those known before training.
LATER = ("train/", "skipped/", "game/", "latents/", "evaluate/")


def find_score(monitor: str, names: Iterable[str], option: str = "checkpoint.monitor") -> str:
    """The logged name that a monitor means: itself, or of a kind of score its name in this run.

    Args:
        monitor: ``val/fd_digits_1000``, or ``fd`` for whatever the data and the number of samples are.
        names: All that are logged.
        option: Which gives the monitor.

    Raises:
        ValueError: if none of the names is meant, or several are.
    """
    names = set(names)
    if monitor in names:
        return monitor
    longer = {name for kind in SCORES if kind.startswith(f"{monitor}_") for name in of_kind(kind, names)}
    found = [name for name in of_kind(monitor, names) if name not in longer]  # fd_infinity is no fd
    if len(found) > 1:
        raise ValueError(f"{option}={monitor}: which of {', '.join(sorted(found))}?")
    if found:
        return found[0]
    scores = sorted(name for name in names if "/" in name)
    close = difflib.get_close_matches(monitor, scores, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    none = "; --checkpoint.monitor null for no best.ckpt" if option.startswith("checkpoint") else ""
    raise ValueError(
        f"{option}={monitor}: no such score is logged (logged: {', '.join(scores) or 'none yet'}){hint}{none}"
    )


def monitoring(callbacks: Iterable[Any]) -> list[Any]:
    """The framework's callbacks that act by a score."""
    kinds = (EarlyStopping, ModelCheckpoint)
    return [part for part in callbacks if isinstance(part, kinds) and part.monitor is not None]


def resolve_monitors(callbacks: Iterable[Any], names: Iterable[str]) -> None:
    """Give the framework's callbacks the whole names of the scores that they act by.

    Raises:
        ValueError: for a score that nothing logs, unless the callback is not strict about it.
    """
    for part in monitoring(callbacks):
        if not part.monitor.startswith(LATER) and getattr(part, "strict", True):
            part.monitor = find_score(part.monitor, names, f"{type(part).__name__}.monitor")


def take_names_of(checkpoint: dict[str, Any], callbacks: Iterable[Any]) -> None:
    """Give callbacks that name a kind of score the name it had when the checkpoint was saved.

    The framework finds their states by it, before any score of the new run is known.
    """
    for part in monitoring(callbacks):
        for key in checkpoint.get("callbacks", {}):
            found = re.search(r"'monitor': '([^']+)'", str(key))
            named = found is not None and key == part.state_key.replace(repr(part.monitor), repr(found[1]))
            if found is not None and named and of_kind(part.monitor, [found[1]]):
                part.monitor = found[1]
                break
