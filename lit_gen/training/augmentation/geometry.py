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
    rows, columns = positions(x)
    return _sampled(x, rows - down[:, None], columns - right[:, None], "nearest", "zeros")


def cut_out(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Zeros where both ``rows`` ``(N, H)`` and ``columns`` ``(N, W)`` are true."""
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def warp(x: Tensor, maps: Tensor) -> Tensor:
    """Images moved by affine maps, bilinearly; beyond the border the image is mirrored."""
    height, width = x.shape[2:]
    rows, columns = positions(x)
    rows, columns = rows - (height - 1) / 2, columns - (width - 1) / 2
    of_x, of_y = maps[:, 0, :, None, None], maps[:, 1, :, None, None]
    x_at = of_x[:, 0] * columns[:, None, :] + of_x[:, 1] * rows[:, :, None] + of_x[:, 2]
    y_at = of_y[:, 0] * columns[:, None, :] + of_y[:, 1] * rows[:, :, None] + of_y[:, 2]
    return _grid_sample(x, y_at + (height - 1) / 2, x_at + (width - 1) / 2, "bilinear", "reflection")


def _sampled(x: Tensor, rows: Tensor, columns: Tensor, mode: str, border: str) -> Tensor:
    height, width = x.shape[2:]
    of_rows, of_columns = rows[:, :, None].expand(-1, -1, width), columns[:, None, :].expand(-1, height, -1)
    return _grid_sample(x, of_rows, of_columns, mode, border)


def _grid_sample(x: Tensor, rows: Tensor, columns: Tensor, mode: str, border: str) -> Tensor:
    """Pixels at places ``(N, H, W)``, counted from the centre of the first pixel."""
    height, width = x.shape[2:]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
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
