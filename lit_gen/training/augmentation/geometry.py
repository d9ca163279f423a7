"""Moving pixels: affine maps, shifts, holes. Maps ``(N, 2, 3)`` go from output to input, in pixels from the centre."""

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
    at = x.new_empty(len(x), 2, height, width)
    at[:, 0], at[:, 1] = x_at[:, None, :], y_at[:, :, None]
    return _grid_sample(x, at, "nearest", "zeros")


def cut_out(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Zeros where both ``rows`` ``(N, H)`` and ``columns`` ``(N, W)`` are true."""
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def warp(x: Tensor, maps: Tensor) -> Tensor:
    """Images moved by affine maps, bilinearly; beyond the border the image is mirrored."""
    height, width = x.shape[2:]
    rows, columns = positions(x)
    rows, columns = rows - (height - 1) / 2, columns - (width - 1) / 2
    maps = torch.stack([2 / width * maps[:, 0], 2 / height * maps[:, 1]], 1)  # to [-1, 1] from border to border
    from_x, from_y, offset = maps[..., None].unbind(2)
    at = (from_y * rows + offset)[:, :, :, None] + (from_x * columns)[:, :, None, :]
    return _grid_sample(x, at, "bilinear", "reflection")


def _grid_sample(x: Tensor, at: Tensor, mode: str, border: str) -> Tensor:
    """Images at points ``(N, 2, H, W)`` in [-1, 1], each coordinate in a plane of its own, which is made fastest."""
    return F.grid_sample(x, at.permute(0, 2, 3, 1), mode=mode, padding_mode=border, align_corners=False)


class Affine:
    """Maps of points, identities at first, before each of which others are put, one after the other.

    What these do is said by numbers ``(N,)``; turns by no angle, scalings by 1 and shifts by 0 change nothing, exactly.

    Args:
        like: As many images, of the same type.
    """

    def __init__(self, like: Tensor) -> None:
        axes = torch.eye(2, dtype=like.dtype, device=like.device).expand(len(like), 2, 2)
        self._x, self._y = axes.unbind(1)  # where the axes go
        self._origin = torch.zeros_like(self._x)

    def scale(self, x: Tensor, y: Tensor) -> None:
        """Scale both axes first."""
        self._x, self._y = self._x * x[:, None], self._y * y[:, None]

    def turn(self, cos: Tensor, sin: Tensor) -> None:
        """Rotate first, by an angle that is given by its cosine and sine."""
        cos, sin = cos[:, None], sin[:, None]
        self._x, self._y = self._x * cos + self._y * sin, self._y * cos - self._x * sin

    def shift(self, x: Tensor, y: Tensor) -> None:
        """Move first, by pixels."""
        self._origin = self._x * x[:, None] + self._y * y[:, None] + self._origin

    def matrices(self) -> Tensor:
        """The map's first two rows, ``(N, 2, 3)``."""
        return torch.stack([self._x, self._y, self._origin], 2)
