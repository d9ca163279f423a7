"""How networks take class labels: joined to an input, by conditional batch norm, by projection, by a classifier."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.networks.base import Discriminator, Network
from lit_gen.networks.layers import Labelled, Norm

InputCondition = Literal["concatenation", "embedding"]
GeneratorCondition = Literal["concatenation", "embedding", "batch_norm"]
DiscriminatorCondition = Literal["concatenation", "embedding", "projection", "auxiliary"]

LARGEST_EMBEDDING = 128


class JoinLabels(nn.Module):
    """Appends the label to a sample along dimension 1 (Mirza & Osindero 2014, arXiv:1411.1784).

    "concatenation" appends the one-hot label: `num_classes` features of a vector, or constant maps of an image.
    "embedding" appends a learned one: as many features as the vector has, at most 128, or one map of an image
    (as LAPGAN, Denton et al. 2015, arXiv:1506.05751). Other conditions act elsewhere and append nothing.

    Args:
        network: whose input it is.
        shape: of a sample, `(D,)` or `(C, H, W)`.
        condition: how the network takes labels.
        accepted: the conditions that the network knows, a `Literal`.

    Attributes:
        added: number of features or maps appended; 0 without classes.

    Raises:
        ValueError: for a condition that is not accepted.
    """

    def __init__(self, network: Network, shape: tuple[int, ...], condition: str, accepted: object = InputCondition):
        super().__init__()
        if condition not in get_args(accepted):
            names = ", ".join(map(repr, get_args(accepted)))
            raise ValueError(f"condition={condition!r}: {type(network).__name__} takes {names}")
        self.num_classes, self.added = network.num_classes, 0
        self.embedding: nn.Embedding | None = None
        if self.num_classes and condition == "concatenation":
            self.added = self.num_classes
        elif self.num_classes and condition == "embedding":
            of_image = len(shape) == 3
            size = math.prod(shape[1:]) if of_image else min(shape[0], LARGEST_EMBEDDING)
            self.embedding = nn.Embedding(self.num_classes, size)
            self.added = 1 if of_image else size

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """`(N, D)` to `(N, D + added)`, or `(N, C, H, W)` to `(N, C + added, H, W)`."""
        if labels is None or self.added == 0:
            return x
        if self.embedding is not None:
            y = self.embedding(labels).to(x.dtype).reshape(x.shape[0], self.added, *x.shape[2:])
        else:
            y = F.one_hot(labels, self.num_classes).to(x.dtype)
            y = y.reshape(x.shape[0], -1, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return torch.cat([x, y], dim=1)


def batch_norm_classes(network: Network, condition: str, norm: Norm) -> int:
    """The classes that batch norm is told: the network's under "batch_norm", else 0.

    Raises:
        ValueError: for "batch_norm" in a network of another norm.
    """
    if condition != "batch_norm" or network.num_classes == 0:
        return 0
    if norm != "batch":
        raise ValueError(f"condition='batch_norm', norm={norm!r}: {type(network).__name__} then needs norm='batch'")
    return network.num_classes


class LabelSequential(nn.Sequential, Labelled):
    """Layers in a row, of which those that take labels get them."""

    def forward(self, x: Tensor, labels: Tensor | None = None, end: int | None = None) -> Tensor:
        """Pass `x` through the layers before `end`, by default all."""
        for layer in list(self)[:end]:
            x = layer(x, labels) if isinstance(layer, Labelled) else layer(x)
        return x


class Projection(nn.Linear):
    """⟨embedding of y, φ(x)⟩ (Miyato & Koyama 2018, arXiv:1802.05637, equation 5).

    A linear layer without bias whose row y is the embedding of class y, so that it is initialised and
    spectrally normalised as one.
    """

    def __init__(self, features: int, num_classes: int):
        super().__init__(features, num_classes, bias=False)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """φ `(N, D)` and labels `(N,)` to `(N,)`."""
        return (F.embedding(labels, self.weight) * features).sum(1)


class FeatureDiscriminator(Discriminator):
    """A discriminator of features φ(x) and a linear score ψ(φ(x)), and how it takes labels.

    - "concatenation" and "embedding" join them to the input (`JoinLabels`);
    - "projection" adds ⟨embedding of y, φ(x)⟩ to the score (Miyato & Koyama 2018, arXiv:1802.05637);
    - "auxiliary" leaves the score without labels and adds a classifier on φ (AC-GAN, Odena et al. 2017,
      arXiv:1610.09585): see `classify`.

    A subclass builds layers for an input with `self.join.added` more maps or features, calls `add_head`, and gives
    `features` and `score`, a layer or method for φ `(N, D)` to ψ(φ) `(N, 1)`.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        num_classes: number of classes, 0 for none.
        condition: how labels are taken.
        joined_shape: shape of the input to which labels are joined.
    """

    score: Callable[[Tensor], Tensor]

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, condition: str, joined_shape: tuple[int, ...]):
        super().__init__(image_shape, num_classes)
        self.join = JoinLabels(self, joined_shape, condition, DiscriminatorCondition)
        self.condition = condition
        self.classifies = num_classes > 0 and condition == "auxiliary"
        self.head: nn.Module = nn.Identity()

    def add_head(self, score: nn.Module) -> None:
        """Add to ψ, a linear layer of D features and one score, the layer that the condition needs."""
        features = score.get_parameter("weight").shape[1]
        if self.num_classes and self.condition == "projection":
            self.head = Projection(features, self.num_classes)
        elif self.classifies:
            self.head = nn.Linear(features, self.num_classes)

    @abstractmethod
    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """φ(x), `(N, D)`."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score `(N,)`."""
        features = self.features(x, labels)
        scores = self.score(features).squeeze(1)
        return scores + self.head(features, labels) if isinstance(self.head, Projection) else scores

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `(N,)` and the logits of the classes `(N, num_classes)`, by one pass.

        Raises:
            ValueError: without classes or under another condition.
        """
        if not self.classifies:
            return super().classify(x)
        features = self.features(x, None)
        return self.score(features).squeeze(1), self.head(features)
