"""Mixing channels: linear maps ``(N, C, C)`` with an offset ``(N, C)``, and gains of frequency bands."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

POWER = (10.0, 1.0, 1.0, 1.0)  # of an image's bands, from coarse to fine: the paper's, whose sum is 13
_SMOOTH = (0.25, 0.5, 0.25)


def about_greys(channels: int, along: Tensor, across: Tensor, hue: Tensor) -> Tensor:
    """Maps ``(N, C, C)`` that scale a pixel's part along the axis of greys, and its part across it.

    That of RGB is also turned about the axis, by Rodrigues' formula.

    Args:
        channels: C.
        along: ``(N,)``.
        across: ``(N,)``.
        hue: Angles ``(N,)``, of no meaning for other numbers of channels than three.
    """
    along, across, hue = (each[:, None, None] for each in (along, across, hue))
    axis = along.new_full((channels, channels), 1 / channels)  # the projection on it
    other = torch.eye(channels, dtype=axis.dtype, device=axis.device) - axis
    if channels != 3:
        return along * axis + across * other
    side = 1 / math.sqrt(3)
    cross = along.new_tensor([[0, -side, side], [side, 0, -side], [-side, side, 0]])
    return along * axis + across * (hue.cos() * other + hue.sin() * cross)


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
