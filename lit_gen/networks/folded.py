"""Convolutions with a resampling folded into their kernel: 16 products for 4 pixels where the plain way takes 36.

Nearest upsampling, or mean pooling over 2 x 2 pixels, and a 3 x 3 convolution together are one linear map: a
convolution of kernel 4 and stride 2, transposed for the upsampling. Its kernel is the sum, or mean, of four shifts of
the 3 x 3 one, which stays the parameter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.kernels.forms import layout


class FoldedConv2d(nn.Conv2d):
    """A 3 x 3 convolution with borders of zeros that can be folded with a resampling.

    Args:
        in_channels: of the map that it takes.
        out_channels: of the map that it gives.
        folded: compute both at once; false takes one after the other, equal up to rounding.
    """

    def __init__(self, in_channels: int, out_channels: int, folded: bool = True):
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.folded = folded


class UpsampledConv2d(FoldedConv2d):
    """Nearest upsampling to twice the size, then the convolution."""

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, out_channels, 2H, 2W)`."""
        if not self.folded:
            return super().forward(F.interpolate(input, scale_factor=2))
        weight = self.weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=layout(self.weight))
        kernel = _sum_of_shifts(weight)
        return F.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)


class PooledConv2d(FoldedConv2d):
    """The convolution, then the mean of 2 x 2 pixels."""

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)`, both sides even, to `(N, out_channels, H/2, W/2)`."""
        if not self.folded:
            return F.avg_pool2d(super().forward(input), 2)
        return F.conv2d(input, 0.25 * _sum_of_shifts(self.weight), self.bias, stride=2, padding=1)


def _sum_of_shifts(kernel: Tensor) -> Tensor:
    """`(O, I, 3, 3)` to `(O, I, 4, 4)`: the sum of the four places that the kernel can take."""
    taps = _with_itself_shifted(_with_itself_shifted(kernel.permute(0, 2, 3, 1), 1), 2)
    return taps.permute(0, 3, 1, 2).contiguous(memory_format=layout(kernel))


def _with_itself_shifted(x: Tensor, dim: int) -> Tensor:
    """Three entries along a dimension to four; no slices, each of whose gradients would be a kernel of zeros first."""
    first, second, third = x.unbind(dim)
    return torch.stack((first, first + second, second + third, third), dim)
