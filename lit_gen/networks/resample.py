"""Doubling and halving of maps by linear interpolation, as products with a matrix along each side.

A matrix product has cheap first and second derivatives, which gradient penalties take, where the ready-made
interpolations are slow or, in bfloat16 on a CPU, missing.
"""

import torch
from torch import Tensor, nn


def doubling(side: int) -> Tensor:
    """U `(2 side, side)`: linear interpolation between pixel centres, constant beyond the outer ones.

    Rows hold ¾ and ¼, so that U spreads a pixel by the binomial filter (1, 3, 3, 1)/4.
    """
    eye = torch.eye(side)
    before, after = eye[[0, *range(side - 1)]], eye[[*range(1, side), side - 1]]
    return torch.stack([0.75 * eye + 0.25 * before, 0.75 * eye + 0.25 * after], dim=1).flatten(0, 1)


class Resample(nn.Module):
    """A linear map along each side, R x Cᵀ, with constant matrices R `(H', H)` and C `(W', W)`."""

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: Tensor, columns: Tensor):
        super().__init__()
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, H', W')`."""
        return self.rows @ x @ self.columns.T


class Upsample(Resample):
    """Bilinear interpolation to twice the size, U x Uᵀ.

    Args:
        size: height and width of the input.
    """

    def __init__(self, size: tuple[int, int]):
        height, width = size
        super().__init__(doubling(height), doubling(width))


class Downsample(Resample):
    """The binomial filter (1, 3, 3, 1)/8 along each side and every other pixel, ½Uᵀ x ½U: no aliasing.

    The border is continued by its own pixels; constants and means are kept.

    Args:
        size: height and width of the input, both even.
    """

    def __init__(self, size: tuple[int, int]):
        height, width = size
        super().__init__(doubling(height // 2).T / 2, doubling(width // 2).T / 2)
