"""Products of float32 matrices by oneDNN, on processors where PyTorch's own way is slow.

PyTorch leaves them to Intel's MKL, which on AMD's processors uses half of a wide register: 90 to 110 GFLOP/s on a
Zen 5, where oneDNN, which computes the convolutions in the same build, does 230 to 250 (torch 2.14.1, one thread).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.kernels.processor import is_zen_5

LARGE = 1 << 22  # multiplications, from which a kernel in Python pays
WIDE = 1 << 17  # weights of a layer, without which it costs a network's small products more than it brings


class Products:
    """In the place of PyTorch's two kernels, through which linear layers and their derivatives go, until `remove`."""

    def __init__(self) -> None:
        self._library = torch.library.Library("aten", "IMPL")
        for name, kernel in (("mm", _mm), ("addmm", _addmm)):
            plain = torch.library.get_kernel(f"aten::{name}", "CPU").call_boxed
            self._library.impl(name, functools.partial(kernel, plain), "CPU", with_keyset=True)

    def remove(self) -> None:
        """Put PyTorch's kernels back."""
        self._library._destroy()


class _State:
    """What is in place in this process."""

    products: Products | None = None


def fast_products(wanted: bool) -> None:
    """Multiply large float32 matrices by oneDNN in this whole process, or again as PyTorch does.

    Args:
        wanted: Whether to.
    """
    if wanted and _State.products is None:
        _State.products = Products()
    elif not wanted and _State.products is not None:
        _State.products.remove()
        _State.products = None


def gain(network: nn.Module) -> bool:
    """Whether a network gains by them: on this processor, in this build of PyTorch, and by a layer that is wide."""
    if not is_zen_5() or not available():
        return False
    linear = (layer for layer in network.modules() if isinstance(layer, nn.Linear))  # a look at weights may change them
    return any(layer.in_features * layer.out_features >= WIDE for layer in linear)


def available() -> bool:
    """Whether this build of PyTorch has oneDNN, and its product under the name that is used here."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _mm(plain: Callable[..., Tensor], keys: Any, a: Tensor, b: Tensor) -> Tensor:
    return _product(a, b, None) if _large(a, b) else plain(keys, a, b)


def _addmm(
    plain: Callable[..., Tensor], keys: Any, c: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    if _large(a, b) and c.ndim == 1 and c.dtype is a.dtype and len(c) == b.shape[1] and beta == alpha == 1:
        return _product(a, b, c.contiguous())  # oneDNN reads it as if it were
    return plain(keys, c, a, b, beta=beta, alpha=alpha)


def _large(a: Tensor, b: Tensor) -> bool:
    """Whether a product of these is one for oneDNN: of two dense float32 matrices that fit, and large."""
    if a.dtype is not torch.float32 or b.dtype is not torch.float32 or a.ndim != 2 or b.ndim != 2:
        return False
    if len(a) * b.numel() < LARGE:
        return False
    return a.shape[1] == len(b) and (b.is_contiguous() or b.t().is_contiguous())


def _product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(a, b.t(), bias, "none", [], "")
