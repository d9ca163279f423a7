"""Fully connected networks for points and for images of any size.

Labels are joined to the input as features, one-hot ("concatenation") or learned ("embedding"); a generator with
batch norm can have a gain and a bias a class instead ("batch_norm"), and a discriminator takes them as
`FeatureDiscriminator` says.
"""

import math
from abc import abstractmethod
from typing import Literal

from torch import Tensor, nn

from lit_gen.networks.base import Decoder, Encoder, Generator
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
from lit_gen.networks.layers import Norm, norm_1d, split_gaussian
from lit_gen.networks.minibatch import Minibatch, compare_vectors
from lit_gen.networks.spectral import add_spectral_norm

Activation = Literal["relu", "leaky_relu", "tanh"]


def _activation(name: Activation) -> nn.Module:
    known = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.2), "tanh": nn.Tanh()}
    if name not in known:
        raise ValueError(f"activation={name!r}: an MLP takes {', '.join(map(repr, known))}")
    return known[name]


def _mlp(
    in_features: int,
    out_features: int,
    width: int,
    depth: int,
    norm: Norm,
    activation: nn.Module,
    minibatch: Minibatch = "none",
    norm_classes: int = 0,
) -> LabelSequential:
    if width < 1 or depth < 0:
        raise ValueError(f"width={width}, depth={depth}: an MLP needs a width of at least 1, a depth of at least 0")
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(in_features, width, bias=norm == "none"), norm_1d(norm, width, norm_classes), activation]
        in_features = width
    compared, in_features = compare_vectors(minibatch, in_features)
    return LabelSequential(*layers, *compared, nn.Linear(in_features, out_features))


class MLPGenerator(Generator):
    """`depth` hidden ReLU layers of `width`; tanh at the end for images, nothing for points.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
        condition: how labels are taken; "batch_norm" needs that norm.
        init: initial weights by name; null for PyTorch's, uniform of variance 1/(3 fan_in).
        bounded: end in a tanh; data without bounds, such as latents, take none.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
        condition: GeneratorCondition = "concatenation",
        init: Init | None = None,
        bounded: bool = True,
    ):
        super().__init__(image_shape, latent_dim, num_classes)
        self.bounded = bounded
        self.join = JoinLabels(self, (latent_dim,), condition, GeneratorCondition)
        self.layers = _mlp(
            latent_dim + self.join.added,
            math.prod(image_shape),
            width,
            depth,
            norm,
            nn.ReLU(),
            norm_classes=batch_norm_classes(self, condition, norm),
        )
        initialise(self, init)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate `(N, *image_shape)`."""
        return self.in_range(self.layers(self.join(z, labels), labels).unflatten(1, self.image_shape))


class VectorDiscriminator(FeatureDiscriminator):
    """A discriminator of `layers` on vectors, of which the last one, linear, gives the score.

    Args:
        image_shape: `(C, H, W)`, which is flattened, or `(D,)`.
        num_classes: number of classes, 0 for none.
        condition: how labels are taken.

    Attributes:
        in_features: the input's, joined labels included.
    """

    layers: LabelSequential

    @abstractmethod  # a subclass makes the layers
    def __init__(self, image_shape: tuple[int, ...], num_classes: int, condition: str):
        pixels = math.prod(image_shape)
        super().__init__(image_shape, num_classes, condition, joined_shape=(pixels,))
        self.in_features = pixels + self.join.added

    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """What the last layer scores, `(N, D)`."""
        return self.layers(self.join(x.flatten(1), labels), end=-1)

    def score(self, features: Tensor) -> Tensor:
        """The last layer's score `(N, 1)`."""
        return self.layers[-1](features)


class MLPDiscriminator(VectorDiscriminator):
    """`depth` hidden LeakyReLU(0.2) layers of `width`.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        num_classes: number of classes, 0 for none.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
        minibatch: features that compare the batch's samples, "stddev", "discrimination" or "none", in front of
            the score.
        condition: how labels are taken.
        spectral_norm: divide every weight by its largest singular value (arXiv:1802.05957).
        init: initial weights by name; null for PyTorch's, uniform of variance 1/(3 fan_in).
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
        minibatch: Minibatch = "none",
        condition: DiscriminatorCondition = "projection",
        spectral_norm: bool = False,
        init: Init | None = None,
    ):
        super().__init__(image_shape, num_classes, condition)
        self.layers = _mlp(self.in_features, 1, width, depth, norm, nn.LeakyReLU(0.2), minibatch)
        self.add_head(self.layers[-1])
        initialise(self, init)
        if spectral_norm:
            add_spectral_norm(self)


class MLPEncoder(Encoder):
    """`depth` hidden layers of `width`, then mean and raw log σ.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
        condition: how labels are taken.
        activation: of the hidden layers; LeakyReLU has slope 0.2 below zero.
        init: initial weights by name; null for PyTorch's, uniform of variance 1/(3 fan_in).
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
        condition: InputCondition = "concatenation",
        activation: Activation = "leaky_relu",
        init: Init | None = None,
    ):
        super().__init__(image_shape, latent_dim, num_classes)
        pixels = math.prod(image_shape)
        self.join = JoinLabels(self, (pixels,), condition)
        self.layers = _mlp(pixels + self.join.added, 2 * latent_dim, width, depth, norm, _activation(activation))
        initialise(self, init)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log σ, each `(N, latent_dim)`."""
        return split_gaussian(self.layers(self.join(x.flatten(1), labels)))


class MLPDecoder(Decoder):
    """`depth` hidden layers of `width`, then a linear layer.

    Args:
        output_shape: `(C, H, W)` or `(D,)`.
        latent_dim: dimension of z.
        num_classes: number of classes, 0 for none.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
        condition: how labels are taken.
        activation: of the hidden layers; LeakyReLU has slope 0.2 below zero.
        init: initial weights by name; null for PyTorch's, uniform of variance 1/(3 fan_in).
    """

    def __init__(
        self,
        output_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 0,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
        condition: InputCondition = "concatenation",
        activation: Activation = "relu",
        init: Init | None = None,
    ):
        super().__init__(output_shape, latent_dim, num_classes)
        self.join = JoinLabels(self, (latent_dim,), condition)
        self.layers = _mlp(
            latent_dim + self.join.added, math.prod(output_shape), width, depth, norm, _activation(activation)
        )
        initialise(self, init)

    @property
    def output_bias(self) -> Tensor | None:
        """The linear layer's."""
        return self.layers[-1].bias  # type: ignore[return-value]

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Parameters `(N, *output_shape)`."""
        return self.layers(self.join(z, labels)).unflatten(1, self.output_shape)
