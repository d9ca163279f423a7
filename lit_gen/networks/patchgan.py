"""PatchGAN: a discriminator of patches (Isola et al. 2017, arXiv:1611.07004; Zhu et al. 2017, arXiv:1703.10593)."""

from typing import Literal

from torch import Tensor, nn

from lit_gen.networks.base import Discriminator, at_least_one
from lit_gen.networks.layers import Norm, init_dcgan
from lit_gen.networks.translation import has_bias, plain_norm

STRIDES = {16: 1, 34: 2, 70: 3}  # strided convolutions by receptive field; 1 has convolutions of one pixel alone


class PatchGAN(Discriminator):
    """Scores every patch of an image: `(N, h, w)` where other discriminators give `(N,)`.

    Losses take the mean over all patches, so each counts as a sample. `C64-C128-C256-C512` in the paper's notation:
    convolutions of kernel 4, the first ones of stride 2, with norm (not on the first) and LeakyReLU(0.2), then one
    score a position. 2.765 M parameters with the receptive field 70, as published (3 channels, width 64).

    Args:
        image_shape: `(C, H, W)`, large enough that every normed map has more than one pixel.
        receptive_field: side of a score's patch in pixels: 70 (the papers'), 34, 16, or 1 for single pixels; null
            takes the largest that is no larger than the image, at least 16.
        width: channels of the first layer; doubled at each, up to 8 times.
        norm: norm of all layers but the first and the last; "instance" has no gain and bias.

    Raises:
        ValueError: for points, an image too small for the receptive field, another receptive field, or a width
            below 1.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        receptive_field: Literal[1, 16, 34, 70] | None = None,
        width: int = 64,
        norm: Norm = "instance",
    ):
        super().__init__(image_shape)
        side = min(image_shape[1:], default=0)
        if receptive_field is None:
            receptive_field = 70 if side >= 70 else 34 if side >= 34 else 16
        if receptive_field not in (1, *STRIDES):
            raise ValueError(f"receptive_field={receptive_field}: PatchGAN has 1, 16, 34 or 70 pixels")
        at_least_one(self, width=width)
        strides = STRIDES.get(receptive_field, 0)
        least = 3 * 2**strides if strides else 2  # the last norm then has 2 x 2 pixels
        if len(image_shape) != 3 or side < least:
            raise ValueError(
                f"image_shape={tuple(image_shape)}: PatchGAN with receptive_field={receptive_field} needs (C, height, "
                f"width) of at least {least} pixels"
            )
        kernel, padding = (4, 1) if strides else (1, 0)
        # Every layer: its channels and its stride, the score's own stride 1 apart.
        stages = [(width * min(2**i, 8), 2 if i < strides else 1) for i in range(max(strides, 1) + 1)]
        layers: list[nn.Module] = []
        channels = image_shape[0]
        for i, (out, stride) in enumerate(stages):
            bias = i == 0 or has_bias(norm)
            layers.append(nn.Conv2d(channels, out, kernel, stride, padding, bias=bias))
            layers += ([plain_norm(norm, out)] if i else []) + [nn.LeakyReLU(0.2)]
            channels = out
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, kernel, 1, padding))
        init_dcgan(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score `(N, h, w)`."""
        return self.layers(x).squeeze(1)
