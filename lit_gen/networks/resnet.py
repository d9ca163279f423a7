"""Residual networks of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028) and SNGAN (Miyato et al. 2018).

At 32 pixels the layout is that of both papers; at 48 and 128 that of SNGAN (arXiv:1802.05957, tables 4 and 5), at 64
of its authors' code; at 256 BigGAN's (arXiv:1809.11096, table 8) without attention; at 28, MNIST's side, a small one of
our own. Labels act as in cGANs with projection (Miyato & Koyama 2018, arXiv:1802.05637): by conditional batch norm in
the generator's blocks, by projection in the discriminator; the other conditions are offered too.

A 1 x 1 convolution commutes with nearest upsampling and with mean pooling, so the shortcuts convolve the smaller map.
A 3 x 3 one behind an upsampling or in front of a pooling is one map with it (`lit_gen.networks.folded`).
"""

from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor, nn

from lit_gen.networks.base import Generator, Network, at_least_one
from lit_gen.networks.checkpointing import Checkpointed, use_checkpoints
from lit_gen.networks.conditioning import (
    DiscriminatorCondition,
    FeatureDiscriminator,
    GeneratorCondition,
    JoinLabels,
    LabelSequential,
    batch_norm_classes,
)
from lit_gen.networks.folded import PooledConv2d, UpsampledConv2d
from lit_gen.networks.initialise import Init, initialise
from lit_gen.networks.layers import Labelled, Norm, init_glorot, init_he, norm_2d
from lit_gen.networks.spectral import add_spectral_norm

Pooling = Literal["mean", "sum"]


class Layout(NamedTuple):
    """Widths as multiples of the network's, by the published tables; those of 8 and 16, for latents, are our own."""

    width: int  # by default
    seed: int  # side of the generator's first map
    growing: tuple[int, ...]  # the seed's width, then each block's: all double the side
    shrinking: tuple[int, ...]  # each block's width
    halvings: int  # of the first blocks; the others keep the side


LAYOUTS = {
    8: Layout(128, 2, (1, 1, 1), (1, 1, 1), 1),
    16: Layout(128, 4, (1, 1, 1), (1, 1, 1, 1), 1),
    28: Layout(48, 7, (3, 2, 1), (1, 2, 3), 2),
    32: Layout(128, 4, (1, 1, 1, 1), (1, 1, 1, 1), 2),
    48: Layout(64, 6, (8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
    64: Layout(64, 4, (16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
    128: Layout(64, 4, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    256: Layout(64, 4, (16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
}


def accepts(image_shape: tuple[int, ...]) -> bool:
    """Whether these networks take this shape: `(C, H, W)` with H = W = 8, 16, 28, 32, 48, 64, 128 or 256."""
    return len(image_shape) == 3 and image_shape[1] == image_shape[2] and image_shape[1] in LAYOUTS


def _layout(network: Network, image_shape: tuple[int, ...], width: int | None) -> tuple[Layout, int]:
    if not accepts(image_shape):
        raise ValueError(
            f"image_shape={tuple(image_shape)}: {type(network).__name__} needs (C, side, side) with a side of "
            f"{', '.join(map(str, LAYOUTS))}"
        )
    layout = LAYOUTS[image_shape[1]]
    width = layout.width if width is None else width
    at_least_one(network, width=width)
    return layout, width


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return init_he(nn.Conv2d(in_channels, out_channels, 3, padding=1))


class UpBlock(Checkpointed, Labelled):
    """Norm, ReLU, upsampling, convolution, norm, ReLU, convolution; doubles height and width."""

    def __init__(self, in_channels: int, channels: int, norm: Norm, norm_classes: int = 0, folded: bool = True):
        super().__init__()
        self.residual = LabelSequential(
            norm_2d(norm, in_channels, norm_classes),
            nn.ReLU(),
            nn.Identity(),  # holds a place, for the names of the weights
            init_he(UpsampledConv2d(in_channels, channels, folded)),
            norm_2d(norm, channels, norm_classes),
            nn.ReLU(),
            _conv(channels, channels),
        )
        self.shortcut = nn.Sequential(init_glorot(nn.Conv2d(in_channels, channels, 1)), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """`(N, C, H, W)` to `(N, channels, 2H, 2W)`."""
        return self.shortcut(x) + self.residual(x, labels)


class FirstDownBlock(Checkpointed):
    """Convolution, ReLU, convolution, mean pooling: no norm, and no activation in front of the image."""

    def __init__(self, in_channels: int, channels: int, folded: bool = True):
        super().__init__()
        self.residual = nn.Sequential(
            _conv(in_channels, channels), nn.ReLU(), init_he(PooledConv2d(channels, channels, folded))
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), init_glorot(nn.Conv2d(in_channels, channels, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, channels, H/2, W/2)`."""
        return self.shortcut(x) + self.residual(x)


class DownBlock(Checkpointed):
    """Norm, ReLU, convolution, twice; halves height and width by mean pooling if `down`.

    The shortcut is a 1 x 1 convolution if the shape changes.
    """

    def __init__(self, in_channels: int, channels: int, norm: Norm, down: bool, folded: bool = True):
        super().__init__()
        self.residual = nn.Sequential(
            norm_2d(norm, in_channels),
            nn.ReLU(),
            _conv(in_channels, in_channels),
            norm_2d(norm, in_channels),
            nn.ReLU(),
            init_he(PooledConv2d(in_channels, channels, folded)) if down else _conv(in_channels, channels),
        )
        shortcut: list[nn.Module] = [nn.AvgPool2d(2)] if down else []
        if down or channels != in_channels:
            shortcut.append(init_glorot(nn.Conv2d(in_channels, channels, 1)))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, channels, H/2, W/2)`, or H and W as they are."""
        return self.shortcut(x) + self.residual(x)


class ResNetGenerator(Generator):
    """A seed, blocks that double the size, norm, ReLU, convolution, tanh.

    Args:
        image_shape: `(C, side, side)` with a side of 8, 16, 28, 32, 48, 64, 128 or 256.
        latent_dim: dimension of z; 128 in the papers.
        num_classes: number of classes, 0 for none.
        width: channels of the last block; by default 128 at 8, 16 and 32 pixels, where all blocks have as many (256 in
            SNGAN), 64 at the larger sizes, where they double towards the seed, up to 16 times, and 48 at 28 pixels.
        norm: norm of the blocks and in front of the output.
        condition: how labels are taken; "batch_norm" needs that norm, and leaves the last one without labels.
        init: initial weights by name; null for the papers', He's in the blocks and Glorot's elsewhere, both uniform.
        folded: take the blocks' resampling and convolution as one map, which is faster and the same up to rounding.
        bounded: end in a tanh; data without bounds, such as latents, take none.
        checkpointing: compute the blocks' activations again in the backward pass: less memory, more time.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int | None = None,
        norm: Norm = "batch",
        condition: GeneratorCondition = "batch_norm",
        init: Init | None = None,
        folded: bool = True,
        bounded: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__(image_shape, latent_dim, num_classes)
        self.bounded = bounded
        layout, width = _layout(self, image_shape, width)
        self.join = JoinLabels(self, (latent_dim,), condition, GeneratorCondition)
        norm_classes = batch_norm_classes(self, condition, norm)
        widths = [width * factor for factor in layout.growing]
        self.layers = LabelSequential(
            init_glorot(nn.Linear(latent_dim + self.join.added, widths[0] * layout.seed**2)),
            nn.Unflatten(1, (widths[0], layout.seed, layout.seed)),
            *[UpBlock(*pair, norm, norm_classes, folded) for pair in pairwise(widths)],
            norm_2d(norm, widths[-1]),
            nn.ReLU(),
            init_glorot(nn.Conv2d(widths[-1], image_shape[0], 3, padding=1)),
        )
        initialise(self, init)
        use_checkpoints(self, checkpointing)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate `(N, C, side, side)` in [-1, 1], or without bounds."""
        return self.in_range(self.layers(self.join(z, labels), labels))


class ResNetDiscriminator(FeatureDiscriminator):
    """Blocks that halve the size, then blocks that keep it, ReLU, pooling over positions, linear score.

    Args:
        image_shape: `(C, side, side)` with a side of 8, 16, 28, 32, 48, 64, 128 or 256.
        num_classes: number of classes, 0 for none.
        width: channels of the first block; by default 128 at 8, 16 and 32 pixels, where all blocks have as many, 64 at
            the larger sizes, where they double from block to block, up to 16 times, and 48 at 28 pixels.
        norm: norm of all blocks but the first. Gradient penalties need one that is not "batch".
        pooling: "mean" of the positions in WGAN-GP, "sum" in SNGAN.
        condition: how labels are taken.
        spectral_norm: divide every weight by its largest singular value, as SNGAN.
        init: initial weights by name; null for the papers', He's in the blocks and Glorot's elsewhere, both uniform.
        folded: take the blocks' resampling and convolution as one map, which is faster and the same up to rounding.
        checkpointing: compute the blocks' activations again in the backward pass: less memory, more time.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int = 0,
        width: int | None = None,
        norm: Norm = "none",
        pooling: Pooling = "mean",
        condition: DiscriminatorCondition = "projection",
        spectral_norm: bool = False,
        init: Init | None = None,
        folded: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__(image_shape, num_classes, condition, joined_shape=image_shape)
        layout, width = _layout(self, image_shape, width)
        if pooling not in ("mean", "sum"):
            raise ValueError(f"pooling={pooling!r}: ResNetDiscriminator takes 'mean' or 'sum'")
        self.pooling = pooling
        widths = [width * factor for factor in layout.shrinking]
        self.blocks = nn.Sequential(
            FirstDownBlock(image_shape[0] + self.join.added, widths[0], folded),
            *[
                DownBlock(*pair, norm, block < layout.halvings, folded)
                for block, pair in enumerate(pairwise(widths), start=1)
            ],
            nn.ReLU(),
        )
        self.score = init_glorot(nn.Linear(widths[-1], 1))
        self.add_head(self.score)
        init_glorot(self.head)
        initialise(self, init)
        if spectral_norm:
            add_spectral_norm(self)
        use_checkpoints(self, checkpointing)

    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The pooled maps, `(N, D)`."""
        maps = self.blocks(self.join(x, labels))
        return maps.mean(dim=(2, 3)) if self.pooling == "mean" else maps.sum(dim=(2, 3))
