"""How far a CPU's 16-bit convolutions are from the same in float32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

FORWARD, BACKWARD = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default
BOUND = 0.02  # of the norm: ten times a bfloat16's rounding, and less than a tenth of the faults that were seen
REPEATS = 2  # one finds 99.5 % of the faults that depend on what the memory held
PART = 1 << 20  # numbers of a batch that are taken at once in float32 and float64
BLOCKS = ((16, 32, 64), (1, 2, 16, 32))  # oneDNN pads a weight's numbers of channels, out and in, to one of these
LARGEST = 1 << 24  # numbers in a block that an allocator may give out again uncleared

# Shapes of input and weight, stride and padding of convolutions that go wrong with torch 2.14: the last one's gradients
# and the one before on processors with bfloat16 instructions, the others on those with AMX.
FAULTS: tuple[tuple[tuple[int, ...], tuple[int, ...], int, int], ...] = (
    ((2, 4, 32, 32), (16, 4, 16, 16), 16, 0),
    ((2, 8, 16, 16), (16, 8, 8, 8), 8, 0),
    ((2, 16, 8, 8), (64, 16, 4, 4), 4, 0),
    ((2, 8, 64), (64, 8, 8), 8, 0),
    ((2, 4, 4, 4, 2), (4, 4, 2, 2, 2), 2, 0),
    ((2, 16, 4, 4), (16, 16, 4, 4), 4, 0),
    ((2, 16, 1, 1), (16, 16, 3, 3), 2, 1),
)


@functools.cache
def error_here() -> float:
    """The largest relative error of bfloat16 convolutions and gradients that are known to go wrong somewhere.

    About 0.003 where all is right, 0.4 to infinite elsewhere. Measured once in a process, before anything guards them.
    No flag of the processor tells it: oneDNN may be kept from its instructions by ``ONEDNN_MAX_CPU_ISA``, and may one
    day be right.
    """
    keys, errors = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), []
    forward, backward = (
        functools.partial(torch.library.get_kernel(op, "CPU").call_boxed, keys) for op in (FORWARD, BACKWARD)
    )
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        for x_shape, weight_shape, stride, padding in FAULTS:
            x, weight = map(_innermost, (x_shape, weight_shape))
            settings = [[n] * (x.ndim - 2) for n in (stride, padding, 1)] + [False, [0] * (x.ndim - 2), 1]
            error, (y,) = try_out(forward, (x, weight, None, *settings))
            errors.append(error)
        errors.append(try_out(backward, (y, x, weight, None, *settings, [True, True, False]))[0])
    return max(errors)


def try_out(kernel: Callable[..., Any], args: tuple[Any, ...]) -> tuple[float, tuple[Tensor | None, ...]]:
    """A 16-bit kernel's largest relative error in the norm of a result, and its results, for tensors like those given.

    The numbers are drawn anew, normal, so that nothing depends on those that happen to be there. Some kernels leave
    a part of their result as they found the memory: so they are tried twice, in memory that is not finite.
    """
    drawn = draw(args)
    exact = _by_parts(kernel, drawn)
    error = 0.0
    for _ in range(REPEATS):
        _spoil_memory(weight_of(args))
        ours = as_tuple(kernel(*drawn))
        pairs = [(a, b) for a, b in zip(ours, exact, strict=True) if a is not None and b is not None]
        error = max([error, *(relative_error(*pair) for pair in pairs)])
        if error > BOUND:
            break
    return error, ours


def relative_error(ours: Tensor, exact: Tensor) -> float:
    """‖ours − exact‖ / ‖exact‖, in float64; infinite where it is not finite."""
    rows, difference, norm = _rows(exact), 0.0, 0.0
    for a, b in zip(ours.split(rows), exact.split(rows), strict=True):
        difference += (a.double() - b.double()).square().sum().item()
        norm += b.double().square().sum().item()
    error = (difference / max(norm, 1e-60)) ** 0.5
    return error if error < torch.inf else torch.inf


def as_tuple(results: Any) -> tuple[Tensor | None, ...]:
    """The results of a convolution, one, or of its gradients."""
    return (results,) if isinstance(results, Tensor) else tuple(results)


def _by_parts(kernel: Callable[..., Any], args: list[Any]) -> tuple[Tensor | None, ...]:
    """The kernel's results computed in float32, a part of the batch at a time for want of memory, and rounded."""
    batch = range(2 if isinstance(args[-1], list) else 1)  # the positions of the maps: of g and x, or of x
    rows, of_maps = min(_rows(args[i]) for i in batch), []
    sums: list[Tensor | None] = []
    rest = [in_float32(arg) for arg in args[len(batch) :]]
    for start in range(0, len(args[0]), rows):
        maps = (in_float32(args[i][start : start + rows]) for i in batch)
        first, *others = as_tuple(kernel(*maps, *rest))
        of_maps += [] if first is None else [first.to(args[0].dtype)]
        pairs = zip(sums, others, strict=True)
        sums = [None if a is None or b is None else a + b for a, b in pairs] if sums else others
    return torch.cat(of_maps) if of_maps else None, *sums


def _rows(x: Tensor) -> int:
    """How many samples make up a part."""
    return max(1, PART * len(x) // max(1, x.numel()))


def draw(args: tuple[Any, ...]) -> list[Any]:
    """Normal numbers in each tensor's shape, layout and precision; anything else as it is."""
    generator = torch.Generator().manual_seed(0)

    def drawn(arg: Any) -> Any:
        if not isinstance(arg, Tensor) or arg.numel() == 0:
            return arg
        extent = 1 + sum((size - 1) * stride for size, stride in zip(arg.shape, arg.stride(), strict=True))
        numbers = torch.randn(extent, generator=generator, dtype=arg.dtype, device="cpu")
        return numbers.as_strided(arg.shape, arg.stride())

    return [drawn(arg) for arg in args]


def weight_of(args: tuple[Any, ...]) -> Tensor:
    """The weight among the arguments of a convolution or of its gradients."""
    return args[2] if isinstance(args[-1], list) else args[1]


def in_float32(arg: Any) -> Any:
    """A tensor in float32, channels first, which is right where channels last is not; anything else as it is."""
    if not isinstance(arg, Tensor):
        return arg
    return arg.to(torch.float32, memory_format=torch.contiguous_format)


def _innermost(shape: tuple[int, ...]) -> Tensor:
    x = torch.empty(shape, dtype=torch.bfloat16, device="cpu")
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _spoil_memory(weight: Tensor) -> None:
    """Free blocks full of NaN, of the sizes that a kernel will ask for: its weight's, with channels padded."""
    (out, into), taps = weight.shape[:2], weight.shape[2:].numel()
    padded = [_up(out, m) * _up(into, n) * taps for m in BLOCKS[0] for n in BLOCKS[1]]
    sizes = {weight.numel(), *padded}
    sizes |= {2 * size for size in sizes}  # of sums in 32 bits
    spoilt = [torch.full((size,), torch.nan, dtype=torch.bfloat16, device="cpu") for size in sizes if size <= LARGEST]
    del spoilt


def _up(size: int, block: int) -> int:
    return -(-size // block) * block
