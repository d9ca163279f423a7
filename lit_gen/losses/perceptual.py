"""Distances of images in the features of a network, beside those of their values."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_gen.precision import float32_or_better

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class PerceptualLoss(ABC):
    """Mean squared distance of feature maps, a mean over maps, positions and channels, times a weight.

    A subclass may measure another ``distance`` of them.

    Args:
        weight: its factor beside the distance of the values.

    Raises:
        ValueError: for a weight that is negative or not finite.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight={self.weight}: {type(self).__name__} needs a finite number, at least 0")

    @abstractmethod
    def features(self, images: Tensor, discriminator: nn.Module | None) -> list[Tensor]:
        """Feature maps of images ``(N, C, H, W)``."""

    @abstractmethod
    def check(self, image_shape: tuple[int, ...], discriminator: nn.Module | None) -> None:
        """Refuse what has no features of such images.

        Raises:
            ValueError: naming it.
        """

    def __call__(self, reconstruction: Tensor, image: Tensor, discriminator: nn.Module | None) -> Tensor:
        """The weighted distance, a scalar, with a gradient in the reconstruction alone."""
        with torch.no_grad():
            targets = self.features(image, discriminator)
        return self.weight * self.distance(self.features(reconstruction, discriminator), targets)

    def distance(self, made: list[Tensor], targets: list[Tensor]) -> Tensor:
        """Of feature maps, a scalar."""
        return torch.stack([_squared(x, y) for x, y in zip(made, targets, strict=True)]).mean()

    def prepare(self) -> None:  # noqa: B027  # most need none
        """Read what the features need from the disk, before a training begins. A model that is only used needs none."""


@dataclass(frozen=True)
class DiscriminatorFeatures(PerceptualLoss):
    """Features of the discriminator, as it learns them (Larsen et al. 2016, arXiv:1512.09300).

    All convolutions' outputs but the last one's, which are the scores.
    """

    def check(self, image_shape: tuple[int, ...], discriminator: nn.Module | None) -> None:
        """Needs a discriminator with convolutions in front of the scores."""
        if discriminator is None or len(_convolutions(discriminator)) < 2:
            kind = "no discriminator" if discriminator is None else type(discriminator).__name__
            raise ValueError(f"perceptual=DiscriminatorFeatures: {kind} has no convolutions in front of its scores")

    def features(self, images: Tensor, discriminator: nn.Module | None) -> list[Tensor]:
        """Outputs of its convolutions."""
        assert discriminator is not None
        found: list[Tensor] = []
        layers = _convolutions(discriminator)[:-1]
        hooks = [layer.register_forward_hook(lambda _, __, output: found.append(output)) for layer in layers]
        try:
            discriminator(images)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def _convolutions(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, CONVOLUTIONS)]


@float32_or_better
def _squared(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean()
