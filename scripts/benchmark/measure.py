"""What the benchmarks measure with: turns, processor seconds, memory of this process."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def interleaved(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each side returns in each of ``rounds``; they take turns."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            values[name].append(side())
    return values


def cpu_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Processor seconds of this process, which others' work on the machine changes little."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def kib(key: str) -> int:
    """Memory of this process by its name in Linux, e.g. ``VmRSS`` for what it holds."""
    return int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def peak_kib() -> int:
    """The most that this process ever held; `getrusage` would give its parent's where that held more."""
    return kib("VmHWM")
