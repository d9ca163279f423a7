"""Convolutional encoder and decoder of autoencoders (Esser et al. 2021, arXiv:2012.09841, table 7; arXiv:2112.10752).

Layers and their names are those of diffusers' `AutoencoderKL`, so that weights go there and back
(`lit_gen.from_diffusers`).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.networks.base import SpatialDecoder, SpatialEncoder
from lit_gen.networks.checkpointing import Checkpointed, use_checkpoints
from lit_gen.networks.folded import UpsampledConv2d

EPS = 1e-6  # of all norms


class ResidualBlock(Checkpointed):
    """x + f(x) of two convolutions, each behind a group norm and SiLU; a 1 x 1 convolution where the widths differ."""

    def __init__(self, channels: int, out: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, channels, EPS), nn.Conv2d(channels, out, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, out, EPS), nn.Conv2d(out, out, 3, 1, 1)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, h, w)` to `(N, out, h, w)`."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class SelfAttention(nn.Module):
    """x + attention among all positions, with one head (arXiv:1805.08318, here behind a group norm)."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, h, w)` to the same."""
        tokens = self.group_norm(x).flatten(2).mT.unsqueeze(1)  # (N, heads, positions, C)
        mixed = F.scaled_dot_product_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        return x + self.to_out[0](mixed.squeeze(1)).mT.reshape(x.shape)


class Halve(nn.Module):
    """A convolution of stride 2, whose border of zeros is on the right and at the bottom alone."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, 2h, 2w)` to `(N, C, h, w)`."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Nearest neighbours, then a convolution, both in one."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = UpsampledConv2d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, h, w)` to `(N, C, 2h, 2w)`."""
        return self.conv(x)


class Stage(nn.Module):
    """Residual blocks at one resolution, and the change to the next."""

    def __init__(self, channels: int, out: int, blocks: int, groups: int, change: type[nn.Module] | None):
        super().__init__()
        self.resnets = nn.ModuleList(ResidualBlock(channels if i == 0 else out, out, groups) for i in range(blocks))
        if change is not None:
            self.add_module("downsamplers" if change is Halve else "upsamplers", nn.ModuleList([change(out)]))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, h, w)` to `(N, out, h', w')`."""
        for layers in self.children():
            for layer in layers:  # type: ignore[attr-defined]
                x = layer(x)
        return x


class Middle(nn.Module):
    """Two residual blocks at the lowest resolution, with attention between them."""

    def __init__(self, channels: int, groups: int, attention: bool):
        super().__init__()
        self.attentions = nn.ModuleList([SelfAttention(channels, groups)] if attention else [])
        self.resnets = nn.ModuleList(ResidualBlock(channels, channels, groups) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, h, w)` to the same."""
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class ConvEncoder(SpatialEncoder):
    """Residual blocks at each resolution, halved between them: images to maps 2^(len(widths) − 1) times smaller.

    Sides that the factor doesn't divide are continued by their last row and column.

    Args:
        image_shape: `(C, H, W)`.
        channels: of the maps, as the bottleneck takes them.
        widths: channels at each resolution, the image's first.
        blocks: residual blocks at each resolution.
        groups: of all group norms; divides all widths.
        attention: among the positions at the lowest resolution.
        last_convolution: a further 1 x 1 convolution behind the last layer.
        checkpointing: compute the residual blocks' activations again in the backward pass: less memory, more time.

    Raises:
        ValueError: for points, numbers below 1, or widths that the groups don't divide.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        channels: int,
        widths: tuple[int, ...] = (128, 256, 512, 512),
        blocks: int = 2,
        groups: int = 32,
        attention: bool = True,
        last_convolution: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__(image_shape, channels)
        widths = _check_widths(self, widths, blocks, groups)
        self.factor, self.map_size = _sizes(self.image_shape, widths)
        self.widths, self.blocks, self.groups, self.attention = widths, blocks, groups, attention
        self.last_convolution = last_convolution
        self.conv_in = nn.Conv2d(image_shape[0], widths[0], 3, 1, 1)
        inputs, last = (widths[0], *widths), len(widths) - 1
        self.down_blocks = nn.Sequential(
            *(Stage(inputs[i], widths[i], blocks, groups, Halve if i < last else None) for i in range(len(widths)))
        )
        self.mid_block = Middle(widths[-1], groups, attention)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], channels, 3, 1, 1)
        self.quant_conv = nn.Conv2d(channels, channels, 1) if last_convolution else nn.Identity()
        use_checkpoints(self, checkpointing)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, channels, h, w)`."""
        height, width = (side * self.factor for side in self.map_size)
        missing = (0, width - x.shape[-1], 0, height - x.shape[-2])
        x = F.pad(x, missing, mode="replicate") if any(missing) else x
        x = self.mid_block(self.down_blocks(self.conv_in(x)))
        return self.quant_conv(self.conv_out(F.silu(self.conv_norm_out(x))))


class ConvDecoder(SpatialDecoder):
    """Residual blocks at each resolution, doubled between them: maps to images; linear in the end.

    Args:
        image_shape: `(C, H, W)`; what the factor adds to the sides is cut off.
        channels: of the maps.
        widths: channels at each resolution, the image's first.
        blocks: residual blocks at each resolution, one less than there are.
        groups: of all group norms; divides all widths.
        attention: among the positions at the lowest resolution.
        first_convolution: a further 1 x 1 convolution in front of the first layer.
        checkpointing: compute the residual blocks' activations again in the backward pass: less memory, more time.

    Raises:
        ValueError: for points, numbers below 1, or widths that the groups don't divide.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        channels: int,
        widths: tuple[int, ...] = (128, 256, 512, 512),
        blocks: int = 2,
        groups: int = 32,
        attention: bool = True,
        first_convolution: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__(image_shape, channels)
        widths = _check_widths(self, widths, blocks, groups)
        self.factor, self.map_size = _sizes(self.image_shape, widths)
        self.widths, self.blocks, self.groups, self.attention = widths, blocks, groups, attention
        self.first_convolution = first_convolution
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if first_convolution else nn.Identity()
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, 1, 1)
        self.mid_block = Middle(widths[-1], groups, attention)
        outputs = widths[::-1]
        inputs, last = (outputs[0], *outputs), len(widths) - 1
        self.up_blocks = nn.Sequential(
            *(
                Stage(inputs[i], outputs[i], blocks + 1, groups, Double if i < last else None)
                for i in range(len(widths))
            )
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], image_shape[0], 3, 1, 1)
        use_checkpoints(self, checkpointing)

    @property
    def last_layer(self) -> nn.Module:  # type: ignore[override]
        """The convolution that makes pixels."""
        return self.conv_out

    def features(self, z: Tensor) -> Tensor:
        """Maps in front of the last layer."""
        x = self.up_blocks(self.mid_block(self.conv_in(self.post_quant_conv(z))))
        return F.silu(self.conv_norm_out(x))


def _check_widths(network: nn.Module, widths: tuple[int, ...], blocks: int, groups: int) -> tuple[int, ...]:
    name = type(network).__name__
    if not widths or min(*widths, blocks, groups) < 1:
        raise ValueError(f"widths={list(widths)}, blocks={blocks}, groups={groups}: {name} needs at least 1 of each")
    if strange := [width for width in widths if width % groups]:
        raise ValueError(f"widths={list(widths)}: {strange[0]} channels don't divide into groups={groups}")
    return tuple(widths)


def _sizes(image_shape: tuple[int, ...], widths: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """The factor between the sides of images and maps, and the maps' size."""
    factor = 2 ** (len(widths) - 1)
    height, width = (-(-side // factor) for side in image_shape[1:])
    return factor, (height, width)
