"""Residual networks for 32 x 32 pixels, of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, appendix).

SNGAN (Miyato et al. 2018, arXiv:1802.05957) uses the same blocks.

A 1 x 1 convolution commutes with nearest upsampling and with mean pooling, so the shortcuts convolve the
smaller map.
"""

import torch
from torch import Tensor, nn

from lit_gen.networks.base import Discriminator, Generator
from lit_gen.networks.layers import Norm, init_glorot, init_he, norm_2d

SIDE = 32
SEED = 4


def _check(network: nn.Module, image_shape: tuple[int, ...], width: int) -> None:
    if tuple(image_shape[1:]) != (SIDE, SIDE):
        raise ValueError(f"image_shape={tuple(image_shape)}: {type(network).__name__} needs (C, {SIDE}, {SIDE})")
    if width < 1:
        raise ValueError(f"width={width}: {type(network).__name__} needs at least 1")


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return init_he(nn.Conv2d(in_channels, out_channels, 3, padding=1))


class UpBlock(nn.Module):
    """Norm, ReLU, upsampling, convolution, norm, ReLU, convolution; doubles height and width."""

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        self.residual = nn.Sequential(
            norm_2d(norm, channels),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            _conv(channels, channels),
            norm_2d(norm, channels),
            nn.ReLU(),
            _conv(channels, channels),
        )
        self.shortcut = nn.Sequential(init_glorot(nn.Conv2d(channels, channels, 1)), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, 2H, 2W)`."""
        return self.shortcut(x) + self.residual(x)


class FirstDownBlock(nn.Module):
    """Convolution, ReLU, convolution, mean pooling: no norm, and no activation in front of the image."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.residual = nn.Sequential(
            _conv(in_channels, channels), nn.ReLU(), _conv(channels, channels), nn.AvgPool2d(2)
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), init_glorot(nn.Conv2d(in_channels, channels, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, channels, H/2, W/2)`."""
        return self.shortcut(x) + self.residual(x)


class DownBlock(nn.Module):
    """Norm, ReLU, convolution, twice; halves height and width by mean pooling if `down`."""

    def __init__(self, channels: int, norm: Norm, down: bool):
        super().__init__()
        self.residual = nn.Sequential(
            norm_2d(norm, channels),
            nn.ReLU(),
            _conv(channels, channels),
            norm_2d(norm, channels),
            nn.ReLU(),
            _conv(channels, channels),
            nn.AvgPool2d(2) if down else nn.Identity(),
        )
        self.shortcut = (
            nn.Sequential(nn.AvgPool2d(2), init_glorot(nn.Conv2d(channels, channels, 1))) if down else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, H/2, W/2)`, or the same shape."""
        return self.shortcut(x) + self.residual(x)


class ResNetGenerator(Generator):
    """A 4 x 4 seed, three blocks that double the size, norm, ReLU, convolution, tanh.

    Args:
        image_shape: `(C, 32, 32)`.
        latent_dim: dimension of z; 128 in the paper.
        width: channels of every block; 128 in WGAN-GP, 256 in SNGAN.
        norm: norm of the blocks and in front of the output.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int, width: int = 128, norm: Norm = "batch"):
        super().__init__(image_shape, latent_dim)
        _check(self, image_shape, width)
        self.layers = nn.Sequential(
            init_glorot(nn.Linear(latent_dim, width * SEED * SEED)),
            nn.Unflatten(1, (width, SEED, SEED)),
            *[UpBlock(width, norm) for _ in range(3)],
            norm_2d(norm, width),
            nn.ReLU(),
            init_glorot(nn.Conv2d(width, image_shape[0], 3, padding=1)),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate `(N, C, 32, 32)` in [-1, 1]."""
        return torch.tanh(self.layers(z))


class ResNetDiscriminator(Discriminator):
    """Two blocks that halve the size, two that keep it, ReLU, mean over positions, linear score.

    Args:
        image_shape: `(C, 32, 32)`.
        width: channels of every block.
        norm: norm of all blocks but the first. Gradient penalties need one that is not "batch".
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 128, norm: Norm = "none"):
        super().__init__(image_shape)
        _check(self, image_shape, width)
        self.blocks = nn.Sequential(
            FirstDownBlock(image_shape[0], width),
            DownBlock(width, norm, down=True),
            DownBlock(width, norm, down=False),
            DownBlock(width, norm, down=False),
            nn.ReLU(),
        )
        self.score = init_glorot(nn.Linear(width, 1))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score `(N,)`."""
        return self.score(self.blocks(x).mean(dim=(2, 3))).squeeze(1)
