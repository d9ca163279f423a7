"""How far a reconstruction is from its image: a mean over all values, so that images of any size weigh alike."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from lit_gen.precision import float32_or_better


class ReconstructionLoss(ABC):
    """A distance of images in [-1, 1], float32 or better; the mean over the batch and all values."""

    @abstractmethod
    def __call__(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """The distance, a scalar, of two batches `(N, *image_shape)`."""


@dataclass(frozen=True)
class L1(ReconstructionLoss):
    """E |x̂ − x|: of a Laplace distribution, which forgives single large errors more than L2."""

    @float32_or_better
    def __call__(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """The mean absolute difference."""
        return (reconstruction - image).abs().mean()


@dataclass(frozen=True)
class L2(ReconstructionLoss):
    """E (x̂ − x)²: of a normal distribution."""

    @float32_or_better
    def __call__(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """The mean squared difference."""
        return (reconstruction - image).square().mean()
