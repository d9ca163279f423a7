"""Networks from images to images of the same shape, as in CycleGAN (Zhu et al. 2017, arXiv:1703.10593)."""

import torch
from torch import Tensor, nn

from lit_gen.networks.base import Translator, at_least_one
from lit_gen.networks.layers import InstanceNorm2d, Norm, init_dcgan, norm_2d


def plain_norm(norm: Norm, channels: int) -> nn.Module:
    """`norm_2d`, but "instance" without gain and bias, as published for translation."""
    return InstanceNorm2d(channels) if norm == "instance" else norm_2d(norm, channels)


def has_bias(norm: Norm) -> bool:
    """Whether a convolution in front of `norm` has a bias: not where the norm brings its own."""
    return norm in ("instance", "none")


class ResidualBlock(nn.Module):
    """x + conv, norm, ReLU, conv, norm of x, 3 x 3 with reflected borders."""

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
            plain_norm(norm, channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
            plain_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        return x + self.residual(x)


class ResNetTranslator(Translator):
    """The paper's generator, of Johnson et al. (2016, arXiv:1603.08155).

    In the paper's notation c7s1-w, d2w, d4w, then `blocks` residual blocks, u2w, uw, c7s1-C, tanh. Parameters as
    published: 11.378 M with 9 blocks, 7.838 M with 6 (3 channels, width 64).

    Args:
        image_shape: `(C, H, W)`, H and W divisible by 2^downsamplings, at least 4 and twice that.
        width: channels of the first layer; doubled at each downsampling.
        blocks: number of residual blocks; null takes the paper's 9 from 256 pixels, 6 below.
        downsamplings: how often the residual blocks' map is halved; null takes the paper's 2, or fewer where H and W
            don't divide or the map would be smaller than 7 pixels.
        norm: norm of all layers but the output; "instance" has no gain and bias.
        out_channels: channels of the translations; null for C.

    Attributes:
        feature_channels: of each stage of its `features`.

    Raises:
        ValueError: for points, sizes that don't divide, or a width, blocks, downsamplings or out_channels out of range.
    """

    any_size = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: int = 64,
        blocks: int | None = None,
        downsamplings: int | None = None,
        norm: Norm = "instance",
        out_channels: int | None = None,
    ):
        super().__init__(image_shape, out_channels)
        if width < 1 or (blocks or 0) < 0 or (downsamplings or 0) < 0:
            raise ValueError(
                f"width={width}, blocks={blocks}, downsamplings={downsamplings}: ResNetTranslator needs a width of at "
                "least 1, the others at least 0"
            )
        if downsamplings is None:
            fits = [d for d in (1, 2) if all(side % 2**d == 0 and side >= 7 * 2**d for side in image_shape[1:])]
            downsamplings = max(fits, default=0)
        self.stride, self.least_side = 2**downsamplings, max(4, 2 * 2**downsamplings)
        _check_sides(self, self.stride, self.least_side)
        blocks = (9 if min(image_shape[1:]) >= 256 else 6) if blocks is None else blocks
        # Backwards from a pixel: the last convolution's 3, each doubling, 2 a block, each halving, the first one's 3.
        self.reach = _through_halvings(3, downsamplings, 1, 2 * blocks, 1) + 3
        bias, channels = has_bias(norm), image_shape[0]
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(channels, width, 7, bias=bias),
            plain_norm(norm, width),
            nn.ReLU(),
        ]
        for _ in range(downsamplings):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), plain_norm(norm, 2 * width), nn.ReLU()]
            width *= 2
        halvings = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
        chosen = sorted({len(layers) + block for block in (0, min(5, blocks) - 1) if blocks})
        layers += [ResidualBlock(width, norm) for _ in range(blocks)]
        self._stages = (*halvings, *chosen)
        self.feature_channels = (channels, *(layers[i].out_channels for i in halvings), *(width for _ in chosen))
        for _ in range(downsamplings):
            up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1, bias=bias)
            layers += [up, plain_norm(norm, width // 2), nn.ReLU()]
            width //= 2
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, self.out_channels, 7))
        init_dcgan(self)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, out_channels, H, W)` in [-1, 1]."""
        return torch.tanh(self.layers(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """The image itself and the maps `(N, feature_channels, h, w)` of some stages of the way in.

        Those are each halving, the first and the fifth residual block, or the last one where there are fewer
        (Park et al. 2020, CUT, arXiv:2007.15651).
        """
        return self._features(x, self.layers[: max(self._stages, default=-1) + 1])[1]

    def with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The translation and, from the same pass, the `features`."""
        x, maps = self._features(x, self.layers)
        return torch.tanh(x), maps

    def _features(self, x: Tensor, layers: nn.Sequential) -> tuple[Tensor, list[Tensor]]:
        maps = [x]
        for i, layer in enumerate(layers):
            x = layer(x)
            maps += [x] if i in self._stages else []
        return x, maps


class UNetTranslator(Translator):
    """Encoder and decoder joined at every size (Isola et al. 2017, pix2pix, arXiv:1611.07004).

    Each level halves the map by a convolution of kernel 4 and doubles it again by a transposed one. A side is halved
    while it is even, at most 8 times: 256 and 32 come down to 1, 28 to 7. Parameters as published with batch norm:
    54.414 M at 256 pixels, 41.829 M at 128 (3 channels, width 64).

    Args:
        image_shape: `(C, H, W)`, H and W even and at least 4; the one with fewer halvings decides.
        width: channels of the outermost level; doubled at each, up to 8 times.
        norm: norm of all layers but the outermost and the way into the innermost; "instance" has no gain and bias.
        dropout: share of the values that training leaves out behind the decoder's first three layers, never the
            outermost; the paper's is 0.5. Outside of training nothing is left out.
        out_channels: channels of the translations; null for C.

    Raises:
        ValueError: for points, odd sizes, or a width, dropout or out_channels out of range.
    """

    any_size = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: int = 64,
        norm: Norm = "instance",
        dropout: float = 0.0,
        out_channels: int | None = None,
    ):
        super().__init__(image_shape, out_channels)
        at_least_one(self, width=width)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: the share of values left out, at least 0 and below 1")
        _check_sides(self, 2, least=4)
        levels = min(_halvings(side) for side in image_shape[1:])
        self.stride, self.least_side, self.reach = 2**levels, 2**levels, _through_halvings(0, levels, 1, 0, 2)
        widths = [width * min(2**level, 8) for level in range(levels)]
        bias, ways_in = has_bias(norm), [image_shape[0], *widths[:-1]]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (outside, inside) in enumerate(zip(ways_in, widths, strict=True)):
            outermost, innermost = level == 0, level == levels - 1
            # The innermost map may be one pixel, which no norm over positions can take.
            unnormed = outermost or innermost
            self.down.append(
                nn.Sequential(
                    nn.Identity() if outermost else nn.LeakyReLU(0.2),
                    nn.Conv2d(outside, inside, 4, 2, 1, bias=bias),
                    nn.Identity() if unnormed else plain_norm(norm, inside),
                )
            )
            joined = inside if innermost else 2 * inside
            out = self.out_channels if outermost else outside
            dropped = dropout > 0 and level >= levels - 3 and not outermost
            up = nn.ConvTranspose2d(joined, out, 4, 2, 1, bias=bias or outermost)
            normed = nn.Identity() if outermost else plain_norm(norm, out)
            self.up.append(nn.Sequential(nn.ReLU(), up, normed, *([nn.Dropout(dropout)] if dropped else [])))
        init_dcgan(self)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, out_channels, H, W)` in [-1, 1]."""
        maps = []
        for down in self.down:
            x = down(x)
            maps.append(x)
        x = self.up[-1](maps[-1])
        for up, skipped in zip(reversed(self.up[:-1]), reversed(maps[:-1]), strict=True):
            x = up(torch.cat([skipped, x], dim=1))
        return torch.tanh(x)


def _halvings(side: int) -> int:
    count = 0
    while side % 2 == 0 and count < 8:
        side, count = side // 2, count + 1
    return count


def _through_halvings(reach: int, count: int, up: int, inside: int, down: int) -> int:
    """How far an output sees through doublings, what lies `inside`, and halvings, where it sees `reach` behind them.

    A doubling's output at 2i or 2i + 1 depends on i − `up` to i + `up`, a halving's at i on 2i − `down` to 2i + `down`.
    """
    for _ in range(count):
        reach = (reach + 1) // 2 + up
    reach += inside
    for _ in range(count):
        reach = 2 * reach + down + 1  # 1 from an odd place to the even one below it
    return reach


def _check_sides(network: Translator, divisor: int, least: int) -> None:
    shape = network.image_shape
    if len(shape) != 3 or any(side % divisor or side < least for side in shape[1:]):
        raise ValueError(
            f"image_shape={shape}: {type(network).__name__} needs (C, height, width) with height and width divisible "
            f"by {divisor}, at least {least}"
        )
