"""Which of its forms a convolution, or a gradient of one, takes on a CPU.

By a table of where each is known to be the fastest, which depends on shapes and on what the processor can do, so that
a run repeats bit by bit; or, in bfloat16, by `lit_gen.kernels.measured`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_gen.kernels import forms, measured
from lit_gen.kernels.forms import Settings, doubles, keeps_side, output_sides
from lit_gen.kernels.measured import Compute
from lit_gen.kernels.processor import is_zen_5

FEW_CHANNELS = 4  # 2 x 2 pixels of each fill a register
MANY_CHANNELS = 16
SMALL_SIDE = 8  # of a map whose windows reach over its borders often, which oneDNN leaves out
LONG = 2048  # numbers of a window
MOST_POSITIONS = 4096  # whose windows are worth their memory anywhere


class Few(NamedTuple):
    """Up to how many positions of a whole batch's smaller map a product of matrices in bfloat16 is the fastest form.

    Attributes:
        gradient: of a weight's gradient.
        strided: of a weight's gradient of a convolution with a stride.
        value: of a convolution's value, where its windows reach over few borders.
        long: of a value with a stride and windows of `LONG` numbers or more.
    """

    gradient: int = 1024
    strided: int = 1024
    value: int = 0
    long: int = 0


# By what a processor can do, as measured; the others keep what holds on all that were looked at.
WITHOUT_TILES = Few(value=256, long=256)  # avx512_bf16 and no AMX
ZEN_5 = Few(strided=4096, value=256, long=1024)  # of these, the one that is twice as fast in bfloat16


@cache
def few_positions() -> Few:
    """Of this processor."""
    can = torch.cpu.get_capabilities()
    if not can.get("avx512_bf16", False) or can.get("amx_bf16", False):
        return Few()
    return ZEN_5 if is_zen_5() else WITHOUT_TILES


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """w * x + b."""
    return _fastest("value", _known_value(x, weight, settings), x, weight, bias, settings)


def input_gradient(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """∂⟨g, w * x⟩/∂x for an x of `shape`."""
    return _fastest("gradient in the input", _known_input(g, weight, shape, settings), g, weight, shape, settings)


def weight_gradient(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """∂⟨g, w * x⟩/∂w for a w of `shape`."""
    return _fastest("gradient in the weight", _known_weight(g, x, shape, settings), g, x, shape, settings)


def by_value(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """The gradient in the input as the convolution of g that it is."""
    if keeps_side(settings, weight.shape):
        padding = forms.opposite(weight.shape, settings)
        return convolution(g, forms.turned(weight), None, settings._replace(padding=padding))
    return convolution(g, weight, None, settings._replace(transposed=not settings.transposed, output_padding=[0, 0]))


def _fastest(operation: str, known: Compute, *args: Any) -> Tensor:
    """The operation in the form that is known to be the fastest, or was measured to be."""
    first = args[0]
    if measured.measures() and first.device.type == "cpu" and first.dtype == torch.bfloat16 and first.numel() > 0:
        known = measured.fastest(operation, known, partial(_FITTING[operation], *args), args)
    return known(*args)


def _known_value(x: Tensor, weight: Tensor, settings: Settings) -> Compute:
    out, into = (1, 0) if settings.transposed else (0, 1)
    if weight.shape[out] <= FEW_CHANNELS and weight.shape[into] >= MANY_CHANNELS and x.device.type == "cpu":
        if settings.transposed and doubles(settings, weight.shape):
            return forms.by_subpixels
        if keeps_side(settings, weight.shape) and all(size % 2 == 0 for size in output_sides(x, weight, settings)):
            return forms.by_fours
    return forms.by_windows if few_windows(x, weight, settings) else forms.plain


def _known_input(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Compute:
    if settings.transposed:
        pays = few_windows(g, weight, settings._replace(transposed=False))
    else:
        pays = g.device.type == "cpu" and shape[1] <= FEW_CHANNELS and _is_a_value(g, weight, shape, settings)
    return by_value if pays else forms.plain_input_gradient


def _known_weight(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Compute:
    if g.device.type == "cpu" and settings.dense:
        limits = few_positions()
        most = limits.gradient if settings.stride == [1, 1] else limits.strided
        if g.dtype == torch.bfloat16 and _positions(x if settings.transposed else g) <= most:
            return forms.by_product
        few = shape[0] <= FEW_CHANNELS and shape[1] >= MANY_CHANNELS
        if few and keeps_side(settings, shape) and forms.no_smaller(g, x.shape):
            return forms.by_swapping
    return forms.plain_weight_gradient


def few_windows(x: Tensor, weight: Tensor, settings: Settings) -> bool:
    """Whether oneDNN finds little to do at once in w * x, in bfloat16, and skips no borders either."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or settings.transposed or not settings.dense:
        return False
    height, width = output_sides(x, weight, settings)
    plain = min(weight.shape[:2]) < MANY_CHANNELS or max(weight.shape[2:]) == 1
    bordered = settings.stride == [1, 1] and any(settings.padding) and min(height, width) < SMALL_SIDE
    some = len(x) > 0 and min(height, width) > 0
    limits = few_positions()
    most = limits.long if max(settings.stride) > 1 and weight[0].numel() >= LONG else limits.value
    return some and len(x) * height * width <= most and not plain and not bordered


def _values(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> list[Compute]:
    """The forms in which a value can be computed, and may be faster than PyTorch's."""
    found: list[Compute] = [forms.plain]
    if settings.transposed:
        return [*found, forms.by_subpixels] if doubles(settings, weight.shape) else found
    if not settings.dense:
        return found
    sides = output_sides(x, weight, settings)
    if min(sides) > 0 and len(x) * sides[0] * sides[1] <= MOST_POSITIONS:
        found.append(forms.by_windows)
    if doubles(settings, weight.shape) and _even(x.shape[2:]):
        found.append(forms.by_blocks)
    if keeps_side(settings, weight.shape) and _even(sides) and len(weight) < MANY_CHANNELS:
        found.append(forms.by_fours)
    return found


def _inputs(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> list[Compute]:
    fits = settings.dense if settings.transposed else _is_a_value(g, weight, shape, settings)
    return [forms.plain_input_gradient, by_value] if fits else [forms.plain_input_gradient]


def _weights(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> list[Compute]:
    found: list[Compute] = [forms.plain_weight_gradient]
    small, large = (x, g) if settings.transposed else (g, x)
    if settings.dense and _positions(small) <= MOST_POSITIONS:
        found.append(forms.by_product)
    if doubles(settings, shape) and _even(large.shape[2:]):
        found.append(forms.by_blocks_gradient)
    if keeps_side(settings, shape) and forms.no_smaller(g, x.shape):
        found.append(forms.by_swapping)
    return found


_FITTING: dict[str, Callable[..., list[Compute]]] = {
    "value": _values,
    "gradient in the input": _inputs,
    "gradient in the weight": _weights,
}


def _is_a_value(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> bool:
    """Whether the gradient in the input is a convolution of g, transposed to blocks of pixels or with w turned."""
    if keeps_side(settings, weight.shape):
        return forms.no_smaller(g, shape)
    return doubles(settings, weight.shape) and _even(shape[2:])


def _even(sides: Any) -> bool:
    return all(side % 2 == 0 for side in sides)


def _positions(x: Tensor) -> int:
    """Of all maps of a batch."""
    return x.numel() // x.shape[1]
