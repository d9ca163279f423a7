"""Float32 or better: the precision of norms, sums, losses, likelihoods and divergences."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])

_BETTER = (torch.float32, torch.float64)
WITHOUT_FLOAT64 = ("mps",)  # types of devices: Apple's GPUs


def float64_device(device: torch.device | str) -> torch.device:
    """The device itself where it can hold float64 sums, else the CPU: Apple's GPUs know no float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def to_float64(x: Tensor) -> Tensor:
    """A tensor in float64, on its own device where that knows float64, else on the CPU."""
    return x.to(float64_device(x.device)).double()


def fast_bfloat16(accelerated: bool) -> bool:
    """Whether the accelerator, or else the CPU, multiplies bfloat16 in hardware; of others than CUDA unknown."""
    if accelerated:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let products of float32 matrices keep their digits, whatever training has set.

    `torch.set_float32_matmul_precision("medium")` or `"high"` lets a GPU, and a CPU with AMX, round them to eleven or
    eight digits of two. It is set by that function, unless the backends were set one by one: PyTorch refuses to tell it
    once both ways have been used.
    """
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        with _full_float32_backends():
            yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _full_float32_backends() -> Iterator[None]:
    backends: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def at_least_float32(x: Any) -> Any:
    """A tensor in float32, or in float64 if it is; anything else as it is."""
    if not isinstance(x, Tensor) or x.dtype in _BETTER:  # no call at all in the usual case
        return x
    return x.to(torch.promote_types(x.dtype, torch.float32))


def logsumexp(x: Tensor, dim: int) -> Tensor:
    """log Σ exp x over ``dim``, whose gradient is the softmax of x to rounding, wherever x lies.

    PyTorch's own (seen in 2.14.1) differentiates to exp(x − log Σ exp x), of which float32 leaves three digits near
    −3·10⁴, where weights no longer add up to 1. Here the maximum is taken off first.
    """
    top = x.detach().amax(dim, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    return torch.logsumexp(x - top, dim) + top.squeeze(dim)


def float32_or_better(function: F) -> F:
    """Run `function` with autocast off and its tensor arguments in float32 (float64 stays float64).

    The function takes at least one tensor; autocast is switched off on the first one's device. Gradients
    return to the callers' tensors in their own precision.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        args = tuple(map(at_least_float32, args))
        kwargs = {name: at_least_float32(value) for name, value in kwargs.items()} if kwargs else kwargs
        if not torch._C._is_any_autocast_enabled():  # in a small model's step the search for a device counts
            return function(*args, **kwargs)
        device = next(x.device.type for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]
