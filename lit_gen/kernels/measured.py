"""Which of several equal forms of an operation is the fastest on this machine: measured once a shape, and kept.

What is kept decides for later runs, so that they repeat bit by bit on this machine. Every answer is a file of its own,
which the first of several processes writes for all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lit_gen.files import UMASK, read_json, user_cache
from lit_gen.kernels.forms import Settings, layout
from lit_gen.kernels.guard import Choice, is_guarded

Compute = Callable[..., Tensor]
ROUNDS = 4  # of all forms in turn, of which the least time counts; the first also makes oneDNN's kernels
HOPELESS = 3  # times the fastest form's time, beyond which two rounds of a form are enough
MARGIN = 1.05  # by which a form must be faster than the known one


class Measured:
    """The answers of this process, and those kept in a folder.

    Args:
        folder: Where they are kept.

    Attributes:
        count: How many were measured by this process.
        seconds: What that took.
        kept: Whether all answers have been kept so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count, self.seconds = 0, 0.0
        self.kept = True
        self._forms: dict[tuple[Any, ...], Compute] = {}
        self._measuring = False

    def fastest(
        self, operation: str, known: Compute, fitting: Callable[[], Sequence[Compute]], args: tuple[Any, ...]
    ) -> Compute:
        """The fastest of the fitting forms for such arguments.

        Args:
            operation: Its name.
            known: The form that is the fastest as far as is known elsewhere.
            fitting: Gives all forms that compute the operation.
            args: Tensors and settings, which all forms take.
        """
        key = (operation, torch.get_num_threads(), is_guarded(), *map(_described, args))
        if (found := self._forms.get(key)) is not None:
            return found
        named = {form.__name__: form for form in fitting()}
        if len(named) > 1:
            if torch._C._len_torch_dispatch_stack():  # which counts operations, say, or computes none
                return known
            path = self.folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.json"
            known = named[self._stored(path, named) or self._measure(path, key, known, named, args)]
        self._forms[key] = known
        return known

    def _stored(self, path: Path, named: dict[str, Compute]) -> str | None:
        name = read_json(path).get("form")
        return name if isinstance(name, str) and name in named else None

    def _measure(
        self, path: Path, key: tuple[Any, ...], known: Compute, named: dict[str, Compute], args: tuple[Any, ...]
    ) -> str:
        begun, outermost = time.perf_counter(), not self._measuring
        self._measuring = True  # a form may ask for the forms of another operation
        times = dict.fromkeys(named, math.inf)
        # A thread's own time doesn't count what others do on the machine.
        clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
        for turn in range(ROUNDS):
            near = HOPELESS * min(times.values()) if turn > 1 else math.inf
            for name, form in named.items():
                if times[name] <= near:
                    start = clock()
                    form(*args)
                    times[name] = min(times[name], clock() - start)
        least = min(times, key=times.__getitem__)
        name = known.__name__ if times[known.__name__] <= MARGIN * times[least] else least
        self.count += 1
        if outermost:
            self.seconds += time.perf_counter() - begun
            self._measuring = False
        milliseconds = {name: round(1000 * seconds, 4) for name, seconds in times.items()}
        self._keep(path, {"operation": repr(key), "form": name, "milliseconds": milliseconds}, named)
        return self._stored(path, named) or name

    def _keep(self, path: Path, answer: dict[str, Any], named: dict[str, Compute]) -> None:
        """Write an answer, unless another process has been first."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            try:
                with os.fdopen(descriptor, "w") as file:
                    json.dump(answer, file)
                os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp's files are private
                try:
                    os.link(temporary, path)
                except OSError:  # there is one, or no links are made here
                    if self._stored(path, named) is None:
                        os.replace(temporary, path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            if self.kept:
                warnings.warn(
                    f"the fastest forms of convolutions can't be kept in {path.parent} ({error.strerror}), so that "
                    "seeded runs may differ in their last bits; --speed.measure off takes those of a table",
                    stacklevel=2,
                )
            self.kept = False


class _State:
    """What measures in this process."""

    measured: Measured | None = None


def measure_forms(choice: Choice) -> Measured | None:
    """Measure in this whole process which forms of bfloat16 convolutions are the fastest, or don't.

    Args:
        choice: ``auto`` measures on processors with AMX, for which there is no table, ``on`` on any, ``off`` on none.

    Returns:
        What measures now, None for nothing.

    Raises:
        ValueError: for another choice.
    """
    if choice not in get_args(Choice):
        raise ValueError(f"measure={choice!r}: 'auto', 'on' or 'off'")
    wanted = choice == "on" or (choice == "auto" and torch.cpu.get_capabilities().get("amx_bf16", False))
    folder = user_cache(None, "forms") / _machine()
    if not wanted:
        _State.measured = None
    elif _State.measured is None or _State.measured.folder != folder:
        _State.measured = Measured(folder)
    return _State.measured


def measures() -> bool:
    """Whether forms are measured in this process."""
    return _State.measured is not None


def fastest(operation: str, known: Compute, fitting: Callable[[], Sequence[Compute]], args: tuple[Any, ...]) -> Compute:
    """`Measured.fastest` where forms are measured, else what is known."""
    return known if _State.measured is None else _State.measured.fastest(operation, known, fitting, args)


def _machine() -> str:
    """A folder's name for all that decides how fast a form is, but for the shapes."""
    facts = (torch.cpu.get_capabilities(), torch.__version__, os.environ.get("ONEDNN_MAX_CPU_ISA"))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _described(arg: Any) -> Any:
    """All of an argument that a form's time depends on."""
    if isinstance(arg, Tensor):
        innermost = layout(arg) is torch.channels_last
        return tuple(arg.shape), "last" if innermost else "first" if arg.is_contiguous() else arg.stride()
    return tuple(map(_described, arg)) if isinstance(arg, torch.Size | Settings | list) else arg
