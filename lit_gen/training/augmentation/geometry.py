"""Moving pixels: affine maps, shifts, holes. Maps ``(N, 3, 3)`` go from output to input, in pixels from the centre."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def positions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the rows ``(1, H)`` and columns ``(1, W)`` of images."""
    height, width = (torch.arange(side, device=x.device, dtype=x.dtype)[None] for side in x.shape[2:])
    return height, width


def shift(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Images moved by whole numbers of pixels ``(N,)``; zeros come in."""
    (height, width), (rows, columns) = x.shape[2:], positions(x)
    y_at, x_at = (2 * (rows - down[:, None]) + 1) / height - 1, (2 * (columns - right[:, None]) + 1) / width - 1
    grid = torch.stack([x_at[:, None, :].expand(-1, height, -1), y_at[:, :, None].expand(-1, -1, width)], -1)
    return _grid_sample(x, grid, "nearest", "zeros")


def cut_out(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Zeros where both ``rows`` ``(N, H)`` and ``columns`` ``(N, W)`` are true."""
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def warp(x: Tensor, maps: Tensor) -> Tensor:
    """Images moved by affine maps, bilinearly; beyond the border the image is mirrored."""
    height, width = x.shape[2:]
    rows, columns = positions(x)
    rows, columns = rows - (height - 1) / 2, columns - (width - 1) / 2
    of_x, of_y = 2 / width * maps[:, 0, :, None], 2 / height * maps[:, 1, :, None]  # to [-1, 1] from border to border
    x_at, y_at = ((to[:, 1] * rows + to[:, 2])[:, :, None] + (to[:, 0] * columns)[:, None, :] for to in (of_x, of_y))
    return _grid_sample(x, torch.stack([x_at, y_at], -1), "bilinear", "reflection")


def _grid_sample(x: Tensor, grid: Tensor, mode: str, border: str) -> Tensor:
    return F.grid_sample(x, grid, mode=mode, padding_mode=border, align_corners=False)


def linear(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The map (x, y) → (a x + b y, c x + d y)."""
    zero = torch.zeros_like(a)
    rows = [torch.stack([a, b, zero], -1), torch.stack([c, d, zero], -1), torch.stack([zero, zero, zero + 1], -1)]
    return torch.stack(rows, -2)


def rotation(angle: Tensor) -> Tensor:
    """By an angle ``(N,)`` in radians."""
    return linear(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """By factors ``(N,)``."""
    return linear(x, torch.zeros_like(x), torch.zeros_like(x), y)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """By pixels ``(N,)``."""
    one = torch.ones_like(x)
    maps = scaling(one, one)
    maps[:, 0, 2], maps[:, 1, 2] = x, y
    return maps
