"""Fully connected networks for points and for images of any size."""

import math

import torch
from torch import Tensor, nn

from lit_gen.networks.base import Decoder, Discriminator, Encoder, Generator
from lit_gen.networks.layers import Norm, norm_1d, split_gaussian
from lit_gen.networks.minibatch import Minibatch, compare_vectors


def _mlp(
    in_features: int,
    out_features: int,
    width: int,
    depth: int,
    norm: Norm,
    activation: nn.Module,
    minibatch: Minibatch = "none",
) -> nn.Module:
    if width < 1 or depth < 0:
        raise ValueError(f"width={width}, depth={depth}: an MLP needs a width of at least 1, a depth of at least 0")
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(in_features, width, bias=norm == "none"), norm_1d(norm, width), activation]
        in_features = width
    compared, in_features = compare_vectors(minibatch, in_features)
    return nn.Sequential(*layers, *compared, nn.Linear(in_features, out_features))


class MLPGenerator(Generator):
    """`depth` hidden ReLU layers of `width`; tanh at the end for images, nothing for points.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        latent_dim: dimension of z.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
    ):
        super().__init__(image_shape, latent_dim)
        self.layers = _mlp(latent_dim, math.prod(image_shape), width, depth, norm, nn.ReLU())

    def forward(self, z: Tensor) -> Tensor:
        """Generate `(N, *image_shape)`."""
        x = self.layers(z).unflatten(1, self.image_shape)
        return torch.tanh(x) if len(self.image_shape) == 3 else x


class MLPDiscriminator(Discriminator):
    """`depth` hidden LeakyReLU(0.2) layers of `width`.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
        minibatch: features that compare the batch's samples, "stddev", "discrimination" or "none", in front of
            the score.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
        minibatch: Minibatch = "none",
    ):
        super().__init__(image_shape)
        self.layers = _mlp(math.prod(image_shape), 1, width, depth, norm, nn.LeakyReLU(0.2), minibatch)

    def forward(self, x: Tensor) -> Tensor:
        """Score `(N,)`."""
        return self.layers(x.flatten(1)).squeeze(1)


class MLPEncoder(Encoder):
    """`depth` hidden LeakyReLU(0.2) layers of `width`, then mean and raw log σ.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        latent_dim: dimension of z.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
    ):
        super().__init__(image_shape, latent_dim)
        self.layers = _mlp(math.prod(image_shape), 2 * latent_dim, width, depth, norm, nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log σ, each `(N, latent_dim)`."""
        return split_gaussian(self.layers(x.flatten(1)))


class MLPDecoder(Decoder):
    """`depth` hidden ReLU layers of `width`, then a linear layer.

    Args:
        output_shape: `(C, H, W)` or `(D,)`.
        latent_dim: dimension of z.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        norm: "batch", "layer" or "none", between each hidden layer and its activation.
    """

    def __init__(
        self,
        output_shape: tuple[int, ...],
        latent_dim: int,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "none",
    ):
        super().__init__(output_shape, latent_dim)
        self.layers = _mlp(latent_dim, math.prod(output_shape), width, depth, norm, nn.ReLU())

    def forward(self, z: Tensor) -> Tensor:
        """Parameters `(N, *output_shape)`."""
        return self.layers(z).unflatten(1, self.output_shape)
