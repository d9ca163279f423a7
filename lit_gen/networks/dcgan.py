"""Convolutional networks of DCGAN (Radford et al. 2016, arXiv:1511.06434), for sides of 8 pixels and more.

Every stage halves or doubles the size by a convolution of kernel 4 and stride 2, whose strides divide its kernel, so
that a transposed one covers all pixels alike. Its padding is 1 for even sides; an odd one, of h pixels, is halved to
(h + 1)/2 by a padding of 2, and grows from there by the same convolution transposed. A side is halved at least twice.
Sides of up to 128 that divide by 4 are halved on while they are even and above 4: 28 comes down to 7, and 32, 64
and 128 to 4. Images of other sides are halved while these are above 4: 30 comes down by 15 and 8 to 4, 256 to 4. The
narrower side decides where the two differ.

Labels are joined to z as features and to an image as maps, one-hot ("concatenation") or learned ("embedding"); a
generator with batch norm can have a gain and a bias a class instead ("batch_norm"), and a discriminator takes them as
`FeatureDiscriminator` says.
"""

from torch import Tensor, nn

from lit_gen.networks.base import Decoder, Encoder, Generator, at_least_one
from lit_gen.networks.conditioning import (
    DiscriminatorCondition,
    FeatureDiscriminator,
    GeneratorCondition,
    InputCondition,
    JoinLabels,
    LabelSequential,
    batch_norm_classes,
)
from lit_gen.networks.initialise import Init, initialise
from lit_gen.networks.layers import Norm, norm_2d, split_gaussian
from lit_gen.networks.minibatch import Minibatch, MinibatchStdDev, compare_vectors
from lit_gen.networks.spectral import add_spectral_norm


def accepts(image_shape: tuple[int, ...]) -> bool:
    """Whether DCGAN's networks take this shape: `(C, H, W)`, H and W at least 8."""
    return len(image_shape) == 3 and min(image_shape[1:]) >= 8


def _sides(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Height and width of the image and of the map behind each halving."""
    even_alone = all(side % 4 == 0 and side <= 128 for side in shape[1:])
    count = min(_halvings(side, even_alone) for side in shape[1:])
    height, width = shape[1:]
    return [(-(-height // 2**stage), -(-width // 2**stage)) for stage in range(count + 1)]


def _halvings(side: int, even_alone: bool) -> int:
    count = 0
    while count < 2 or (side > 4 and (side % 2 == 0 or not even_alone)):
        side = -(-side // 2)
        count += 1
    return count


def _halve(channels: int, width: int, side: tuple[int, int], bias: bool = True) -> nn.Conv2d:
    """From maps of `side` to half of it, rounded up."""
    return nn.Conv2d(channels, width, 4, 2, (1 + side[0] % 2, 1 + side[1] % 2), bias=bias)


def _double(channels: int, width: int, side: tuple[int, int], bias: bool = True) -> nn.ConvTranspose2d:
    """From half of `side`, rounded up, to maps of it: `_halve`, transposed."""
    odd = (side[0] % 2, side[1] % 2)
    return nn.ConvTranspose2d(channels, width, 4, 2, (1 + odd[0], 1 + odd[1]), odd, bias=bias)


def _stage_widths(network: nn.Module, name: str, shape: tuple[int, ...], width: int) -> list[int]:
    """Channels of the feature maps, from the largest map to the smallest."""
    if not accepts(shape):
        raise ValueError(
            f"{name}={tuple(shape)}: {type(network).__name__} needs (C, height, width) with height and width "
            "of at least 8"
        )
    at_least_one(network, width=width)
    return [width * min(2**stage, 8) for stage in range(len(_sides(shape)) - 1)]


def _growing_trunk(
    shape: tuple[int, ...], in_features: int, widths: list[int], norm: Norm, norm_classes: int = 0
) -> LabelSequential:
    """A vector to a map of `shape`: a linear seed, then transposed convolutions, no norm on the output."""
    bias = norm == "none"
    *sides, smallest = _sides(shape)
    seed = (widths[-1], *smallest)
    layers: list[nn.Module] = [
        nn.Linear(in_features, seed[0] * seed[1] * seed[2], bias=bias),
        nn.Unflatten(1, seed),
        norm_2d(norm, seed[0], norm_classes),
        nn.ReLU(),
    ]
    channels = seed[0]
    for width, side in zip(reversed(widths[:-1]), reversed(sides[1:]), strict=True):
        layers += [
            _double(channels, width, side, bias),
            norm_2d(norm, width, norm_classes),
            nn.ReLU(),
        ]
        channels = width
    return LabelSequential(*layers, _double(channels, shape[0], sides[0]))


def _shrinking_trunk(
    shape: tuple[int, ...], labels: int, out_features: int, widths: list[int], norm: Norm, minibatch: Minibatch = "none"
) -> LabelSequential:
    """Images of `shape`, and `labels` maps, to a vector: strided convolutions, no norm on the first, a linear layer."""
    *sides, (height, breadth) = _sides(shape)
    layers: list[nn.Module] = [_halve(shape[0] + labels, widths[0], sides[0]), nn.LeakyReLU(0.2)]
    channels = widths[0]
    for width, side in zip(widths[1:], sides[1:], strict=True):
        layers += [
            _halve(channels, width, side, bias=norm == "none"),
            norm_2d(norm, width),
            nn.LeakyReLU(0.2),
        ]
        channels = width
    if minibatch == "stddev":  # one more map, as in the paper, where a vector would get one more entry
        layers, channels, minibatch = [*layers, MinibatchStdDev()], channels + 1, "none"
    compared, features = compare_vectors(minibatch, channels * height * breadth)
    return LabelSequential(*layers, nn.Flatten(), *compared, nn.Linear(features, out_features))


class DCGANGenerator(Generator):
    """Linear seed, then transposed convolutions with norm and ReLU, tanh at the end.

    Args:
        image_shape: `(C, H, W)`, H and W at least 8.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: channels of the last hidden stage; doubled towards the seed, up to 8 times.
        norm: norm of all layers but the output.
        condition: how labels are taken; "batch_norm" needs that norm.
        init: initial weights by name; "dcgan" is the paper's N(0, 0.02²).
        bounded: end in a tanh; data without bounds, such as latents, take none.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 64,
        norm: Norm = "batch",
        condition: GeneratorCondition = "concatenation",
        init: Init = "dcgan",
        bounded: bool = True,
    ):
        super().__init__(image_shape, latent_dim, num_classes)
        self.bounded = bounded
        widths = _stage_widths(self, "image_shape", image_shape, width)
        self.join = JoinLabels(self, (latent_dim,), condition, GeneratorCondition)
        norm_classes = batch_norm_classes(self, condition, norm)
        self.trunk = _growing_trunk(image_shape, latent_dim + self.join.added, widths, norm, norm_classes)
        initialise(self, init)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate `(N, C, H, W)` in [-1, 1], or without bounds."""
        return self.in_range(self.trunk(self.join(z, labels), labels))


class DCGANDiscriminator(FeatureDiscriminator):
    """Strided convolutions with norm and LeakyReLU(0.2), then a linear score.

    Args:
        image_shape: `(C, H, W)`, H and W at least 8.
        num_classes: number of classes, 0 for none.
        width: channels of the first stage; doubled at each, up to 8 times.
        norm: norm of all stages but the first, "batch" in the paper. Gradient penalties need another one.
        minibatch: features that compare the batch's samples, "stddev", "discrimination" or "none", in front of
            the score.
        condition: how labels are taken.
        spectral_norm: divide every weight by its largest singular value (arXiv:1802.05957).
        init: initial weights by name; "dcgan" is the paper's N(0, 0.02²).
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 64,
        norm: Norm = "none",
        minibatch: Minibatch = "none",
        condition: DiscriminatorCondition = "projection",
        spectral_norm: bool = False,
        init: Init = "dcgan",
    ):
        super().__init__(image_shape, num_classes, condition, joined_shape=image_shape)
        widths = _stage_widths(self, "image_shape", image_shape, width)
        self.trunk = _shrinking_trunk(image_shape, self.join.added, 1, widths, norm, minibatch)
        self.add_head(self.trunk[-1])
        initialise(self, init)
        if spectral_norm:
            add_spectral_norm(self)

    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """What the last layer scores, `(N, D)`."""
        return self.trunk(self.join(x, labels), end=-1)

    def score(self, features: Tensor) -> Tensor:
        """The last layer's score `(N, 1)`."""
        return self.trunk[-1](features)


class DCGANEncoder(Encoder):
    """The discriminator's convolutions, then mean and raw log σ.

    Args:
        image_shape: `(C, H, W)`, H and W at least 8.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: channels of the first stage; doubled at each, up to 8 times.
        norm: norm of all stages but the first; under "batch" a bound is another one in training and evaluation.
        condition: how labels are taken.
        init: initial weights by name; "dcgan" is the paper's N(0, 0.02²).
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 64,
        norm: Norm = "none",
        condition: InputCondition = "concatenation",
        init: Init = "dcgan",
    ):
        super().__init__(image_shape, latent_dim, num_classes)
        widths = _stage_widths(self, "image_shape", image_shape, width)
        self.join = JoinLabels(self, image_shape, condition)
        self.trunk = _shrinking_trunk(image_shape, self.join.added, 2 * latent_dim, widths, norm)
        initialise(self, init)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log σ, each `(N, latent_dim)`."""
        return split_gaussian(self.trunk(self.join(x, labels)))


class DCGANDecoder(Decoder):
    """The generator's layers without the tanh.

    Args:
        output_shape: `(C, H, W)`, H and W at least 8.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: channels of the last hidden stage; doubled towards the seed, up to 8 times.
        norm: norm of all layers but the output.
        condition: how labels are taken.
        init: initial weights by name; "dcgan" is the paper's N(0, 0.02²).
    """

    def __init__(
        self,
        output_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 64,
        norm: Norm = "none",
        condition: InputCondition = "concatenation",
        init: Init = "dcgan",
    ):
        super().__init__(output_shape, latent_dim, num_classes)
        widths = _stage_widths(self, "output_shape", output_shape, width)
        self.join = JoinLabels(self, (latent_dim,), condition)
        self.trunk = _growing_trunk(output_shape, latent_dim + self.join.added, widths, norm)
        initialise(self, init)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Parameters `(N, *output_shape)`."""
        return self.trunk(self.join(z, labels))
