"""Mixing channels: linear maps ``(N, C, C)`` with an offset ``(N, C)``, and gains of frequency bands."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

POWER = (10.0, 1.0, 1.0, 1.0)  # of an image's bands, from coarse to fine: the paper's, whose sum is 13
_SMOOTH = (0.25, 0.5, 0.25)


def grey(channels: int, like: Tensor) -> Tensor:
    """The projection ``(C, C)`` of a pixel on the axis of greys."""
    return like.new_full((channels, channels), 1 / channels)


def hue(angle: Tensor) -> Tensor:
    """Rotations ``(N, 3, 3)`` of RGB about the axis of greys, by Rodrigues' formula."""
    side = 1 / math.sqrt(3)
    cross = angle.new_tensor([[0, -side, side], [side, 0, -side], [-side, side, 0]])
    axis, cos, sin = grey(3, angle), angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cos * torch.eye(3, dtype=angle.dtype, device=angle.device) + (1 - cos) * axis + sin * cross


def mix(x: Tensor, maps: Tensor, offset: Tensor) -> Tensor:
    """M x + b at every pixel of images ``(N, C, H, W)``."""
    if x.shape[1] == 1:
        return x * maps[..., None] + offset[..., None, None]
    return torch.baddbmm(offset[..., None], maps, x.flatten(2)).view(x.shape)


def normalised_gains(band: int, gain: Tensor) -> Tensor:
    """Gains ``(N, 4)`` of the bands for one that is amplified, such that the power of a usual image stays."""
    gains = torch.ones(len(gain), len(POWER), dtype=gain.dtype, device=gain.device)
    gains[:, band] = gain
    power = gains.new_tensor(POWER) / sum(POWER)
    return gains / (power * gains.square()).sum(1, keepdim=True).sqrt()


def amplify(x: Tensor, gains: Tensor) -> Tensor:
    """Images with bands scaled by gains ``(N, 4)``, from coarse to fine; gains of 1 give the image.

    Bands are differences of ever smoother images: by the binomial kernel (1, 2, 1)/4 in both directions, with its
    taps 1, 2 and 4 pixels apart.
    """
    scales = gains[:, :, None, None, None].unbind(1)
    smooth, result = x, torch.zeros_like(x)
    for level, scale in enumerate(reversed(scales[1:])):
        smoother = _smoothed(smooth, 2**level)
        result = result + scale * (smooth - smoother)
        smooth = smoother
    return result + scales[0] * smooth


def _smoothed(x: Tensor, spread: int) -> Tensor:
    shape, kernel = x.shape, x.new_tensor(_SMOOTH)
    x = F.pad(x.flatten(0, 1)[:, None], [spread] * 4, mode="replicate")
    x = F.conv2d(x, kernel.view(1, 1, 3, 1), dilation=(spread, 1))
    return F.conv2d(x, kernel.view(1, 1, 1, 3), dilation=(1, spread)).view(shape)
