"""What the stages of `scripts/gpu.sh` are made of, and how their pieces are timed.

A stage is a list of pieces. Its file holds a row for each from the beginning, "not reached" at first, so that whatever
ends the process, the rows say how far it came.
"""

import json
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from steps import Stopwatch


class Unsupported(Exception):
    """What this version of the library, or this device, can't do."""


@dataclass
class Settings:
    """Of all stages; ``until`` is when this one's time is up, in seconds since 1970."""

    device: str
    small: bool
    images: int
    until: float

    def choose(self, small: Any, full: Any) -> Any:
        return small if self.small else full


@dataclass
class Piece:
    """What is measured: its row's first columns, the work that gives the others, the seconds that it needs to begin."""

    facts: dict[str, Any]
    work: Callable[[], dict[str, Any]]
    needs: float = 0


@dataclass
class Pieces:
    """A stage's pieces, and the file that always holds the rows of all of them."""

    pieces: list[Piece]
    file: Path
    rows: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = [piece.facts | {"status": "skipped", "why": "not reached"} for piece in self.pieces]

    def run(self, until: float) -> bool:
        """Do all for which there is time; whether none has failed."""
        self._write()
        for i, piece in enumerate(self.pieces):
            left = until - time.time()
            if left < piece.needs:
                self.rows[i] = piece.facts | {
                    "status": "skipped",
                    "why": f"{left:.0f} s left, {piece.needs:.0f} needed",
                }
            else:
                self.rows[i] = piece.facts | {"status": "running"}
                self._write()
                self.rows[i] = piece.facts | attempt(piece.work)
            self._write()
        return all(row["status"] != "failed" for row in self.rows)

    def _write(self) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.rows))
        part.replace(self.file)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The work's values, or in one line why there are none."""
    try:
        return work() | {"status": "done"}
    except Unsupported as error:
        return {"status": "unsupported", "why": str(error)}
    except Exception as error:  # whatever it is, the next piece begins
        logging.getLogger(__name__).exception("a piece has failed")
        lines = str(error).strip().splitlines() or [""]
        return {"status": "failed", "why": f"{type(error).__name__}: {lines[0]}"}


@contextmanager
def tf32(device: str, allowed: bool) -> Iterator[None]:
    """Float32 products and convolutions with TF32's mantissas of 10 bits, or with float32's own."""
    if allowed and device != "cuda":
        raise Unsupported("a CPU has no TF32")
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = allowed
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Wall seconds, which on a GPU wait for it."""
    watch = Stopwatch(device)
    watch.start()
    work()
    watch.stop()
    return float(watch.total[1])


def median_seconds(work: Callable[[], Any], device: str, rounds: int) -> float:
    work()  # allocates, chooses algorithms
    return statistics.median(seconds_of(work, device) for _ in range(rounds))
