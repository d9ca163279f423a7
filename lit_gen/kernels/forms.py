"""Forms of a convolution and of its two gradients that are equal to the plain ones up to the order of their sums.

oneDNN, PyTorch's library for them on a CPU, pads channels to the width of a vector register, 16 numbers, so that an
image's three cost five times their work, and it splits a weight's gradient over a map's positions, of which a small map
has few. So other forms of the same sums may be faster; `lit_gen.kernels.choice` says which is taken where.

All forms of a value take `(x, weight, bias, settings)`, all of a weight's gradient `(g, x, shape of w, settings)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten


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


SMALL = Settings([1, 1], [0, 0], [1, 1], False, [0, 0], 1)  # of a kernel of 2 x 2 blocks


def doubles(settings: Settings, shape: torch.Size) -> bool:
    """Whether this is DCGAN's halving, or transposed doubling, of a map: kernel 4, stride 2, padding 1."""
    halves = settings.stride == [2, 2] and settings.padding == [1, 1] and settings.output_padding == [0, 0]
    return settings.dense and tuple(shape[2:]) == (4, 4) and halves


def keeps_side(settings: Settings, shape: torch.Size) -> bool:
    """Whether this is a dense convolution of pixels with neighbours, without strides, and its transposed map too."""
    plain = settings.dense and not settings.transposed and settings.stride == [1, 1]
    return plain and min(shape[2:]) > 1 and min(opposite(shape, settings)) >= 0


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """PyTorch's convolution."""
    return torch.convolution(x, weight, bias, *settings)


def plain_input_gradient(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """PyTorch's gradient in the input."""
    x = untouched(shape, g, layout(weight if min(weight.shape[2:]) > 1 else g))
    return aten.convolution_backward(g, x, weight, None, *settings, [True, False, False])[0]


def plain_weight_gradient(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """PyTorch's gradient in the weight."""
    x = x.contiguous(memory_format=layout(g))
    weight = untouched(shape, g, layout(g))
    return aten.convolution_backward(g, x, weight, None, *settings, [False, True, False])[1]


def by_subpixels(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """A transposed convolution of kernel 4, stride 2, padding 1, as a 2 x 2 one whose channels are 2 x 2 pixels.

    Shi et al. 2016, arXiv:1609.07009. Row 2i + a of the output before its border is cut reads rows i − 1 and i of x by
    the kernel's rows a + 2 and a.
    """
    into, out = weight.shape[:2]
    taps = weight.reshape(into, out, 2, 2, 2, 2).flip(2, 4)  # row and column, each as (tap, phase)
    kernel = _laid_out_as(taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * out, into, 2, 2), weight)
    bias = None if bias is None else bias.repeat_interleave(4)
    framed = F.pixel_shuffle(plain(x, kernel, bias, SMALL._replace(padding=[1, 1])), 2)
    return framed[:, :, 1:-1, 1:-1].contiguous(memory_format=layout(framed))


def by_fours(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """A convolution without strides, as one of stride 2 whose channels are 2 x 2 pixels."""
    shifts = [F.pad(weight, (b, 1 - b, a, 1 - a)) for a in (0, 1) for b in (0, 1)]
    kernel = _laid_out_as(torch.stack(shifts, 1).flatten(0, 1), weight)
    bias = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(plain(x, kernel, bias, settings._replace(stride=[2, 2])), 2)


def by_windows(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """A convolution as one product of matrices, of all windows of x and of w."""
    height, width = output_sides(x, weight, settings)
    windows = _windows(x, weight.shape, (height, width), settings)
    kernels = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
    product = windows @ kernels if bias is None else torch.addmm(bias, windows, kernels)
    return product.view(len(x), height, width, -1).permute(0, 3, 1, 2).contiguous(memory_format=layout(weight))


def by_product(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """The weight's gradient of a convolution as one product of matrices, of all windows of x and of g."""
    small, large = (x, g) if settings.transposed else (g, x)  # what the plain one of the same weight gives, and takes
    windows = _windows(large, shape, small.shape[2:], settings)
    product = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1]).t() @ windows
    return product.view(small.shape[1], *shape[2:], -1).permute(0, 3, 1, 2)


def by_swapping(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """The weight's gradient of a convolution without strides, as that of the map from g to x."""
    opposed = settings._replace(padding=opposite(shape, settings))
    return turned(plain_weight_gradient(x, g, torch.Size((shape[1], shape[0], *shape[2:])), opposed))


def by_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """A convolution of kernel 4, stride 2, padding 1, as one of kernel 2 whose channels are 2 x 2 pixels."""
    out, into = weight.shape[:2]
    taps = weight.reshape(out, into, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4)  # row and column, each as (tap, phase)
    return plain(_blocks(x), _laid_out_as(taps.reshape(out, 4 * into, 2, 2), weight), bias, SMALL)


def by_blocks_gradient(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
    """The weight's gradient of a convolution of kernel 4, stride 2, padding 1, in the same way."""
    small, large = (x, g) if settings.transposed else (g, x)
    out, into = shape[:2]
    gradient = plain_weight_gradient(small, _blocks(large), torch.Size((out, 4 * into, 2, 2)), SMALL)
    return gradient.reshape(out, into, 2, 2, 2, 2).permute(0, 1, 4, 2, 5, 3).reshape(shape)


def _blocks(x: Tensor) -> Tensor:
    """`(N, 4 C, H / 2 + 1, W / 2 + 1)`: the 2 x 2 pixels of x within a border of zeros, each block's as channels."""
    return F.pixel_unshuffle(F.pad(x, (1, 1, 1, 1)), 2).contiguous(memory_format=layout(x))


def layout(x: Tensor) -> torch.memory_format:
    """The memory format of a map or a kernel; that of 1 x 1 ones, and under `torch.vmap`, counts as contiguous."""
    if torch._C._functorch.is_batchedtensor(x):  # which doesn't tell
        return torch.contiguous_format
    innermost = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if innermost else torch.contiguous_format


def _laid_out_as(kernel: Tensor, weight: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=layout(weight))


def turned(weight: Tensor) -> Tensor:
    """The kernel of the transposed map: channels swapped, taps in reverse."""
    return _laid_out_as(weight.flip(2, 3).transpose(0, 1), weight)


def opposite(shape: torch.Size, settings: Settings) -> list[int]:
    """The transposed map's padding."""
    return [size - 1 - pad for size, pad in zip(shape[2:], settings.padding, strict=True)]


def no_smaller(g: Tensor, shape: torch.Size) -> bool:
    """Whether the output's maps lack a border at most, so that the transposed map of g works on few zeros."""
    return 2 * g.shape[2:].numel() >= shape[2:].numel()


def _windows(x: Tensor, shape: torch.Size, positions: tuple[int, ...], settings: Settings) -> Tensor:
    """`(positions of the batch, taps and channels)`: what a kernel of `shape` reads of x at each position."""
    (rows, columns), (down, right), (height, width) = settings.stride, settings.padding, shape[2:]
    x = F.pad(x, (right, right, down, down)) if right or down else x
    x = x.contiguous(memory_format=torch.channels_last)
    windows = x.unfold(2, height, rows).unfold(3, width, columns)[:, :, : positions[0], : positions[1]]
    return windows.permute(0, 2, 3, 4, 5, 1).reshape(-1, height * width * x.shape[1])


def output_sides(x: Tensor, weight: Tensor, settings: Settings) -> tuple[int, int]:
    """Height and width of the output of a convolution that isn't transposed."""
    sizes = zip(x.shape[2:], weight.shape[2:], settings.stride, settings.padding, strict=True)
    height, width = ((side + 2 * pad - size) // stride + 1 for side, size, stride, pad in sizes)
    return height, width


def of_shape(shape: torch.Size, like: Tensor) -> Tensor:
    """A stand-in for a tensor of which a backward formula reads only the shape, mapped over a batch where `like` is."""
    return like.new_empty(()).expand(shape)


def untouched(shape: torch.Size, like: Tensor, memory_format: torch.memory_format) -> Tensor:
    """A stand-in for a tensor of which a backward formula reads only the shape, and that it need not lay out anew.

    Of one number that is expanded oneDNN's formulas would make a whole map first.
    """
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)
