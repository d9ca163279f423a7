"""Convolutions of 16 bits on a CPU, each new shape checked once against float32.

On processors with bfloat16 instructions PyTorch's bfloat16 convolutions return wrong numbers for some shapes, without a
word (docs/bfloat16.md). No list of such shapes stays true from one processor or version to the next, so a trial finds
them. The guard takes the place of two of PyTorch's kernels, through which all convolutions and all their derivatives
go: of any network, in any thread, within any mode. Where nothing is wrong it is not there at all.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lit_gen.kernels.trial import BACKWARD, BOUND, FORWARD, error_here, in_float32, try_out

SHORT = (torch.bfloat16, torch.float16)
Choice = Literal["auto", "on", "off"]
Verdict = list[tuple[int, ...] | None] | None  # None where PyTorch is right, else the strides of its results


class Guard:
    """In the place of PyTorch's two kernels until `remove`.

    A shape's first convolution is repeated on normal numbers of the same shapes and layouts, in its own precision and
    in float32, and if they differ by more than `BOUND` all convolutions of the shape are computed in float32. So what
    is done depends on shapes alone, not on the numbers that happen to come first.

    Attributes:
        wrong: how many shapes and layouts, of convolutions and of their gradients, are computed in float32.
        used: those of them that were met since it was cleared.
    """

    def __init__(self) -> None:
        self.wrong = 0
        self.used: set[Any] = set()
        self._verdicts: dict[Any, Verdict] = {}
        self._library = torch.library.Library("aten", "IMPL")
        for op in (FORWARD, BACKWARD):
            kernel = torch.library.get_kernel(op, "CPU").call_boxed
            self._library.impl(op, functools.partial(self._run, op, kernel), "CPU", with_keyset=True)

    def remove(self) -> None:
        """Put PyTorch's kernels back."""
        self._library._destroy()

    def _run(self, op: Any, kernel: Callable[..., Any], keys: torch.DispatchKeySet, *args: Any) -> Any:
        with torch._C.DisableTorchFunction():  # else a mode such as FastConvolutions sees each look at a shape
            strides = self._verdict(op, kernel, keys, args)
            if strides is None:
                return kernel(keys, *args)
            results = kernel(keys, *map(in_float32, args))
            if isinstance(results, Tensor):
                return _laid_out(results, strides[0], args[0].dtype)
            return tuple(_laid_out(*pair, args[0].dtype) for pair in zip(results, strides, strict=True))

    def _verdict(
        self, op: Any, kernel: Callable[..., Any], keys: torch.DispatchKeySet, args: tuple[Any, ...]
    ) -> Verdict:
        if args[0].dtype not in SHORT or args[0].numel() == 0:
            return None
        key = _key(op, args)
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(functools.partial(kernel, keys), args)
        verdict = self._verdicts[key]
        if verdict is not None:
            self.used.add(key)
        return verdict

    def _judge(self, kernel: Callable[..., Any], args: tuple[Any, ...]) -> Verdict:
        error, results = try_out(kernel, args)
        if error <= BOUND:
            return None
        self.wrong += 1
        if self.wrong == 1 and os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0":
            warnings.warn(
                f"PyTorch's {str(args[0].dtype).removeprefix('torch.')} convolution is {told_error(error)} on this "
                f"processor for {_told(args)}; it and all others that a check finds wrong are computed in float32 "
                "(docs/bfloat16.md)",
                stacklevel=2,
            )
        return [None if result is None else result.stride() for result in results]


class _State:
    """What is in place in this process, and who asked for it."""

    choice: Choice | None = None
    guard: Guard | None = None


def guard_convolutions(choice: Choice | None = None) -> Guard | None:
    """Keep 16-bit convolutions on the CPU right in this whole process, whoever calls them.

    Models, penalties and extractors of this package call it by themselves.

    Args:
        choice: ``auto`` checks each new shape where `error_here` finds wrong numbers on this machine, ``on`` anywhere,
            ``off`` nowhere. None for what was chosen before, ``auto`` if nothing was.

    Returns:
        What is in place now, None for nothing.

    Raises:
        ValueError: for another choice.
    """
    if choice is None:
        if _State.choice is not None:
            return _State.guard
        choice = "auto"
    if choice not in get_args(Choice):
        raise ValueError(f"guard={choice!r}: 'auto', 'on' or 'off'")
    error = error_here()
    wanted = choice == "on" or (choice == "auto" and error > BOUND)
    if wanted and _State.guard is None:
        _State.guard = Guard()
    elif not wanted and _State.guard is not None:
        _State.guard.remove()
        _State.guard = None
    _State.choice = choice
    return _State.guard


def is_guarded() -> bool:
    """Whether a guard is in place in this process."""
    return _State.guard is not None


def guard_short(dtype: torch.dtype) -> None:
    """Keep 16-bit convolutions right where they are about to be computed: for weights of this type, or by autocast."""
    if dtype in SHORT or torch.is_autocast_enabled("cpu"):
        guard_convolutions()


def told_error(error: float) -> str:
    """A relative error in words."""
    return f"off by {error:.{1 if error < BOUND else 0}%}" if error < 100 else "arbitrary"


def _key(op: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """All that PyTorch's choice of a routine can depend on."""
    key = [op, args[0].dtype, torch.get_num_threads()]
    for arg in args:
        if type(arg) is list:
            key.append(tuple(arg))
        elif isinstance(arg, Tensor):
            key += (arg.shape, arg.stride())
        else:
            key.append(arg)
    return tuple(key)


def _laid_out(result: Tensor | None, strides: tuple[int, ...] | None, dtype: torch.dtype) -> Tensor | None:
    if result is None or strides is None:
        return None
    return torch.empty_strided(result.shape, strides, dtype=dtype, device="cpu").copy_(result)


def _told(args: tuple[Any, ...]) -> str:
    backward = isinstance(args[-1], list)
    (x, weight), settings = (args[1:3], args[4:]) if backward else (args[:2], args[3:])
    stride, _, _, transposed, _, groups = settings[:6]
    name = f"{'a gradient of ' if backward else ''}a {'transposed ' if transposed else ''}layer"
    return f"{name} (input {list(x.shape)}, weight {list(weight.shape)}, stride {stride}, groups {groups})"
