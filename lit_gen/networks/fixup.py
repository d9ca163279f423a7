"""Residual networks without any norm, in the spirit of R3GAN (Huang et al. 2025, arXiv:2501.05441, section 4).

Blocks are inverted bottlenecks with a grouped convolution. In place of norms their weights start as in Fixup (Zhang et
al. 2019, arXiv:1901.09321): the last convolution of a block at zero, so that every block is the identity, and the
other m − 1 = 2 with variances scaled by L^(−1/(m − 1)), L the number of blocks, so that one step of gradient descent
moves the network's output as far at any depth. Sizes change by bilinear interpolation and its antialiased
inverse. The generator grows from a learned basis of maps, the discriminator ends in one; here images pass a tanh.

Sides are 2ᵏ times 4, 5, 6 or 7, from 8 to 256 pixels, k alike for height and width.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from lit_gen.networks.base import Generator, Network
from lit_gen.networks.conditioning import (
    DiscriminatorCondition,
    FeatureDiscriminator,
    InputCondition,
    JoinLabels,
)
from lit_gen.networks.resample import Downsample, Upsample
from lit_gen.networks.spectral import add_spectral_norm

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the second moment through a leaky ReLU (arXiv:1502.01852, equation 15)
LARGEST_SIDE = 256


def _halvings(side: int) -> int | None:
    """How often `side` halves until 4 to 7 are left; None if it doesn't."""
    count = side.bit_length() - 3
    return count if count >= 1 and side <= LARGEST_SIDE and side % 2**count == 0 else None


def accepts(image_shape: tuple[int, ...]) -> bool:
    """Whether these networks take this shape: `(C, H, W)`, H and W alike 2ᵏ times 4 to 7, from 8 to 256."""
    counts = {_halvings(side) for side in image_shape[1:]}
    return len(image_shape) == 3 and len(counts) == 1 and None not in counts


def _stages(network: Network, image_shape: tuple[int, ...], **sizes: int) -> list[tuple[int, tuple[int, int]]]:
    """Channels and size of the maps of each stage, from the image's to the smallest."""
    if not accepts(image_shape):
        raise ValueError(
            f"image_shape={tuple(image_shape)}: {type(network).__name__} needs (C, height, width), both 4, 5, 6 or 7 "
            "times the same power of 2, from 8 to 256"
        )
    if min(sizes.values()) < 1:
        raise ValueError(
            f"{', '.join(f'{name}={size}' for name, size in sizes.items())}: {type(network).__name__} needs at least 1"
        )
    _, height, width = image_shape
    count = height.bit_length() - 2
    return [(sizes["width"] * min(2**k, 8), (height >> k, width >> k)) for k in range(count)]


def _conv(in_channels: int, channels: int, kernel: int, gain: float, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution with weights N(0, gain²/fan_in)."""
    layer = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, groups=groups, bias=bias)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class InvertedBottleneck(nn.Module):
    """x + conv 1 x 1 (leaky ReLU (grouped conv 3 x 3 (leaky ReLU (conv 1 x 1 (x))))).

    Args:
        channels: of x.
        total: L, the number of blocks in the network.
        expansion: width between the 1 x 1 convolutions, as a multiple of `channels`.
        group_width: channels of a group of the 3 x 3 convolution.
        identity: whether the last convolution starts at zero, else as the others.

    Raises:
        ValueError: for a group width that doesn't divide the expanded width.
    """

    def __init__(self, channels: int, total: int, expansion: int = 2, group_width: int = 16, identity: bool = True):
        super().__init__()
        hidden = expansion * channels
        group_width = min(group_width, hidden)
        if hidden % group_width:
            raise ValueError(f"group_width={group_width}: it must divide expansion * channels = {hidden}")
        gain = GAIN * total**-0.25
        self.residual = nn.Sequential(
            _conv(channels, hidden, 1, gain, bias=True),
            nn.LeakyReLU(SLOPE),
            _conv(hidden, hidden, 3, gain, groups=hidden // group_width, bias=True),
            nn.LeakyReLU(SLOPE),
            _conv(hidden, channels, 1, gain=0.0 if identity else gain),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same."""
        return x + self.residual(x)


def _transition(in_channels: int, channels: int) -> list[nn.Module]:
    return [_conv(in_channels, channels, 1, gain=1.0)] if channels != in_channels else []


class FixupGenerator(Generator):
    """A learned basis weighted by z, stages of residual blocks between upsamplings, a 1 x 1 convolution, tanh.

    Args:
        image_shape: `(C, H, W)`; see the module for the sides.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: channels at the image's size; doubled at each halving, up to 8 times.
        blocks: residual blocks of a stage.
        expansion: width inside a block, as a multiple of its channels.
        group_width: channels of a group of the 3 x 3 convolutions.
        condition: how labels are joined to z.
        bounded: end in a tanh; data without bounds, such as latents, take none.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 64,
        blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        condition: InputCondition = "embedding",
        bounded: bool = True,
    ):
        super().__init__(image_shape, latent_dim, num_classes)
        self.bounded = bounded
        stages = _stages(self, image_shape, width=width, blocks=blocks, expansion=expansion, group_width=group_width)
        stages, total = stages[::-1], blocks * len(stages)
        channels, size = stages[0]
        self.join = JoinLabels(self, (latent_dim,), condition)
        self.coefficients = nn.Linear(latent_dim + self.join.added, channels, bias=False)
        nn.init.normal_(self.coefficients.weight, 0.0, 1 / math.sqrt(self.coefficients.in_features))
        self.basis = nn.Parameter(torch.randn(channels, *size))
        layers: list[nn.Module] = [InvertedBottleneck(channels, total, expansion, group_width) for _ in range(blocks)]
        for (before, size), (channels, _) in pairwise(stages):
            layers += [*_transition(before, channels), Upsample(size)]
            layers += [InvertedBottleneck(channels, total, expansion, group_width) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, _conv(channels, image_shape[0], 1, gain=1.0))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate `(N, C, H, W)` in [-1, 1], or without bounds."""
        coefficients = self.coefficients(self.join(z, labels))
        return self.in_range(self.layers(self.basis * coefficients[:, :, None, None]))


class FixupDiscriminator(FeatureDiscriminator):
    """A 1 x 1 convolution, stages of residual blocks between downsamplings, a learned basis, a linear score.

    Args:
        image_shape: `(C, H, W)`; see the module for the sides.
        num_classes: number of classes, 0 for none.
        width: channels at the image's size; doubled at each halving, up to 8 times.
        blocks: residual blocks of a stage.
        expansion: width inside a block, as a multiple of its channels.
        group_width: channels of a group of the 3 x 3 convolutions.
        condition: how labels are taken.
        spectral_norm: divide every weight by its largest singular value (arXiv:1802.05957); a block is then not the
            identity at first, as a matrix of zeros has no direction to normalise.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 64,
        blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        condition: DiscriminatorCondition = "projection",
        spectral_norm: bool = False,
    ):
        super().__init__(image_shape, num_classes, condition, joined_shape=image_shape)
        stages = _stages(self, image_shape, width=width, blocks=blocks, expansion=expansion, group_width=group_width)
        total = blocks * len(stages)
        layers: list[nn.Module] = [_conv(image_shape[0] + self.join.added, width, 1, gain=1.0)]
        for (channels, size), (after, _) in pairwise([*stages, (0, (0, 0))]):
            layers += [
                InvertedBottleneck(channels, total, expansion, group_width, identity=not spectral_norm)
                for _ in range(blocks)
            ]
            layers += [Downsample(size), *_transition(channels, after)] if after else []
        basis = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
        nn.init.normal_(basis.weight, 0.0, 1 / math.sqrt(math.prod(size)))
        self.layers = nn.Sequential(*layers, basis, nn.Flatten())
        self.score = nn.Linear(channels, 1)
        self.add_head(self.score)
        for layer in (self.score, self.head):
            for name, parameter in layer.named_parameters():
                nn.init.normal_(parameter, 0.0, 0.0 if name == "bias" else 1 / math.sqrt(channels))
        if spectral_norm:
            add_spectral_norm(self)

    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Products with the basis, `(N, D)`."""
        return self.layers(self.join(x, labels))
