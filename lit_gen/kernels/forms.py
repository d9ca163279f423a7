"""A convolution and its two gradients on a CPU, each in the form that PyTorch's library for it computes fastest.

oneDNN pads channels to the width of a vector register, 16 numbers, so that an image's three cost five times their
work, and it splits a weight's gradient over a map's positions, of which a small map has few. The forms below are equal
to the plain ones up to the order of their sums. Which one is taken depends on shapes alone, so that a run repeats
bit by bit.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

FEW_CHANNELS = 4  # 2 x 2 pixels of each fill a register
MANY_CHANNELS = 16
SMALL_SIDE = 8  # of a map whose windows reach over its borders often, which oneDNN leaves out
aten = torch.ops.aten


class Few(NamedTuple):
    """Up to how many positions of a whole batch's smaller map a product of matrices in bfloat16 is the fastest form.

    Attributes:
        gradient: of a weight's gradient.
        value: of a convolution's value, where its windows reach over few borders.
    """

    gradient: int = 1024
    value: int = 0


# By what a processor can do, as measured; the others keep what holds on all that were looked at.
WITHOUT_TILES = Few(gradient=1024, value=256)  # avx512_bf16 and no AMX


@cache
def few_positions() -> Few:
    """Of this processor."""
    can = torch.cpu.get_capabilities()
    return WITHOUT_TILES if can.get("avx512_bf16", False) and not can.get("amx_bf16", False) else Few()


class Settings(NamedTuple):
    """A convolution's, as `torch.convolution` takes them."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    @property
    def dense(self) -> bool:
        """Whether kernels have no gaps and join all channels."""
        return self.groups == 1 and self.dilation == [1, 1]


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """w * x + b."""
    out, into = (1, 0) if settings.transposed else (0, 1)
    few = weight.shape[out] <= FEW_CHANNELS and weight.shape[into] >= MANY_CHANNELS
    if few and x.device.type == "cpu":
        if settings.transposed and doubles(settings, weight.shape):
            return by_subpixels(x, weight, bias)
        if keeps_side(settings, weight.shape) and all(size % 2 == 0 for size in _output(x, weight, settings)):
            return by_fours(x, weight, bias, settings.padding)
    if few_windows(x, weight, settings):
        return by_windows(x, weight, bias, settings)
    return torch.convolution(x, weight, bias, *settings)


def input_gradient(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """∂⟨g, w * x⟩/∂x for an x of `shape`."""
    if g.device.type == "cpu" and shape[1] <= FEW_CHANNELS and not settings.transposed:
        if doubles(settings, weight.shape) and all(side % 2 == 0 for side in shape[2:]):
            return convolution(g, weight, None, settings._replace(transposed=True))
        if keeps_side(settings, weight.shape) and _no_smaller(g, shape):
            return convolution(g, _turned(weight), None, settings._replace(padding=_opposite(weight.shape, settings)))
    if settings.transposed and few_windows(g, weight, turned := settings._replace(transposed=False)):
        return by_windows(g, weight, None, turned)
    return aten.convolution_backward(g, of_shape(shape, g), weight, None, *settings, [True, False, False])[0]


def weight_gradient(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """∂⟨g, w * x⟩/∂w for a w of `shape`."""
    if g.device.type == "cpu" and settings.dense:
        # The transposed convolution's output is what the plain one of the same weight takes.
        of_small, large = (x, g) if settings.transposed else (g, x)
        if g.dtype == torch.bfloat16 and of_small.numel() // of_small.shape[1] <= few_positions().gradient:
            return by_product(of_small, large, shape, settings)
        few = shape[0] <= FEW_CHANNELS and shape[1] >= MANY_CHANNELS
        if few and keeps_side(settings, shape) and _no_smaller(g, x.shape):
            return by_swapping(g, x, shape, settings)
    return _plain_weight_gradient(g, x.contiguous(memory_format=layout(g)), shape, settings)


def doubles(settings: Settings, shape: torch.Size) -> bool:
    """Whether this is DCGAN's halving, or transposed doubling, of a map: kernel 4, stride 2, padding 1."""
    halves = settings.stride == [2, 2] and settings.padding == [1, 1] and settings.output_padding == [0, 0]
    return settings.dense and tuple(shape[2:]) == (4, 4) and halves


def keeps_side(settings: Settings, shape: torch.Size) -> bool:
    """Whether this is a dense convolution of pixels with neighbours, without strides, and its transposed map too."""
    plain = settings.dense and not settings.transposed and settings.stride == [1, 1]
    return plain and min(shape[2:]) > 1 and min(_opposite(shape, settings)) >= 0


def by_subpixels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A transposed convolution of kernel 4, stride 2, padding 1, as a 2 x 2 one whose channels are 2 x 2 pixels.

    Shi et al. 2016, arXiv:1609.07009. Row 2i + a of the output before its border is cut reads rows i − 1 and i of x by
    the kernel's rows a + 2 and a.
    """
    into, out = weight.shape[:2]
    taps = weight.reshape(into, out, 2, 2, 2, 2).flip(2, 4)  # row and column, each as (tap, phase)
    kernel = _laid_out_as(taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * out, into, 2, 2), weight)
    bias = None if bias is None else bias.repeat_interleave(4)
    framed = F.pixel_shuffle(F.conv2d(x, kernel, bias, padding=1), 2)
    return framed[:, :, 1:-1, 1:-1].contiguous(memory_format=layout(framed))


def by_fours(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    """A convolution without strides, as one of stride 2 whose channels are 2 x 2 pixels."""
    shifts = [F.pad(weight, (b, 1 - b, a, 1 - a)) for a in (0, 1) for b in (0, 1)]
    kernel = _laid_out_as(torch.stack(shifts, 1).flatten(0, 1), weight)
    bias = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(x, kernel, bias, 2, padding), 2)


def few_windows(x: Tensor, weight: Tensor, settings: Settings) -> bool:
    """Whether oneDNN finds little to do at once in w * x, in bfloat16, and skips no borders either."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or settings.transposed or not settings.dense:
        return False
    height, width = _output(x, weight, settings)
    plain = min(weight.shape[:2]) < MANY_CHANNELS or max(weight.shape[2:]) == 1
    bordered = settings.stride == [1, 1] and any(settings.padding) and min(height, width) < SMALL_SIDE
    return 0 < len(x) * height * width <= few_positions().value and not plain and not bordered


def by_windows(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """A convolution as one product of matrices, of all windows of x and of w."""
    height, width = _output(x, weight, settings)
    windows = _windows(x, weight.shape, (height, width), settings)
    kernels = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
    product = windows @ kernels if bias is None else torch.addmm(bias, windows, kernels)
    return product.view(len(x), height, width, -1).permute(0, 3, 1, 2).contiguous(memory_format=layout(weight))


def by_product(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """The weight's gradient of a convolution as one product of matrices, of all windows of x and of g."""
    windows = _windows(x, shape, g.shape[2:], settings)
    product = g.permute(0, 2, 3, 1).reshape(-1, g.shape[1]).t() @ windows
    return product.view(g.shape[1], *shape[2:], -1).permute(0, 3, 1, 2)


def by_swapping(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """The weight's gradient of a convolution without strides, as that of the map from g to x."""
    turned = settings._replace(padding=_opposite(shape, settings))
    return _turned(_plain_weight_gradient(x, g, torch.Size((shape[1], shape[0], *shape[2:])), turned))


def layout(x: Tensor) -> torch.memory_format:
    """The memory format of a map or a kernel; that of 1 x 1 ones counts as contiguous."""
    innermost = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if innermost else torch.contiguous_format


def _laid_out_as(kernel: Tensor, weight: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=layout(weight))


def _turned(weight: Tensor) -> Tensor:
    """The kernel of the transposed map: channels swapped, taps in reverse."""
    return _laid_out_as(weight.flip(2, 3).transpose(0, 1), weight)


def _opposite(shape: torch.Size, settings: Settings) -> list[int]:
    """The transposed map's padding."""
    return [size - 1 - pad for size, pad in zip(shape[2:], settings.padding, strict=True)]


def _no_smaller(g: Tensor, shape: torch.Size) -> bool:
    """Whether the output's maps lack a border at most, so that the transposed map of g works on few zeros."""
    return 2 * g.shape[2:].numel() >= shape[2:].numel()


def _windows(x: Tensor, shape: torch.Size, positions: tuple[int, ...], settings: Settings) -> Tensor:
    """`(positions of the batch, taps and channels)`: what a kernel of `shape` reads of x at each position."""
    (rows, columns), (down, right), (height, width) = settings.stride, settings.padding, shape[2:]
    x = F.pad(x, (right, right, down, down)) if right or down else x
    x = x.contiguous(memory_format=torch.channels_last)
    windows = x.unfold(2, height, rows).unfold(3, width, columns)[:, :, : positions[0], : positions[1]]
    return windows.permute(0, 2, 3, 4, 5, 1).reshape(-1, height * width * x.shape[1])


def _output(x: Tensor, weight: Tensor, settings: Settings) -> tuple[int, int]:
    """Height and width of the output of a convolution that isn't transposed."""
    sizes = zip(x.shape[2:], weight.shape[2:], settings.stride, settings.padding, strict=True)
    height, width = ((side + 2 * pad - size) // stride + 1 for side, size, stride, pad in sizes)
    return height, width


def of_shape(shape: torch.Size, like: Tensor) -> Tensor:
    """A stand-in for a tensor of which a backward formula reads only the shape: without memory of its own."""
    return like.new_empty(()).expand(shape)


def _plain_weight_gradient(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    return aten.convolution_backward(g, x, of_shape(shape, g), None, *settings, [False, True, False])[1]
