"""Terms that are added to a discriminator's loss so that it learns no few images by heart."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_gen.precision import float32_or_better
from lit_gen.training.augmentation import Augmentation, DiffAugment
from lit_gen.training.memory import Memory

Pair = tuple[Tensor, Tensor]  # of real and of generated images


class Regularizer(ABC):
    """A term of the discriminator's loss that is a mean over samples of a function of their scores.

    Derived classes are frozen dataclasses; what they learn from updates is held by ``memory()``.

    Attributes:
        augmentation: By which the images are changed for scores to compare with; None if it needs no such scores.
    """

    augmentation: Augmentation | None = None

    @abstractmethod
    def __call__(self, scores: Pair, changed: Pair | None = None, memory: Any = None) -> Tensor:
        """The weighted term, a scalar.

        Args:
            scores: D(x) and D(G(z)), of any shape.
            changed: The same of the images changed by ``augmentation``.
            memory: What ``memory()`` gave, if it gives any.
        """

    def memory(self) -> Memory | None:
        """What it learns from updates; by default nothing."""
        return None


@dataclass(frozen=True)
class LeCam(Regularizer):
    """λ [E (D(x) − α_F)² + E (D(G(z)) − α_R)²] (Tseng et al. 2021, arXiv:2104.03310, equation 4).

    α_R and α_F are moving averages of D(x) and D(G(z)): each half of the scores is held near what the other has been.

    Args:
        weight: λ; the paper's is 0.3 for BigGAN's hinge loss, 0.01 at most for StyleGAN2's.
        decay: Of the averages at each update; the first updates' are plain means, until these are as slow.

    Raises:
        ValueError: for a weight that is negative or not finite, or a decay outside [0, 1).
    """

    weight: float = 0.3
    decay: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight={self.weight}: LeCam needs a finite number, at least 0")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay}: LeCam needs a number from 0 to below 1")

    def memory(self) -> ScoreAverages:
        """Both averages."""
        return ScoreAverages(self.decay)

    def __call__(self, scores: Pair, changed: Pair | None = None, memory: Any = None) -> Tensor:
        """Half the scores against the averages of the other half; nothing before these are known."""
        return self._term(*scores, memory.real, memory.fake) * (memory.updates > 0)

    @float32_or_better
    def _term(self, real: Tensor, fake: Tensor, of_real: Tensor, of_fake: Tensor) -> Tensor:
        return self.weight * ((real - of_fake).square().mean() + (fake - of_real).square().mean())


class ScoreAverages(Memory):
    """Moving averages of the mean scores of real and of generated images.

    Args:
        decay: At each update.
    """

    real: Tensor
    fake: Tensor
    updates: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name in ("real", "fake"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def tell(self, values: dict[str, Tensor]) -> None:
        """Take the mean scores ``real_score`` and ``fake_score`` of an update."""
        self.updates += 1
        weight = (1 / self.updates).clamp(min=1 - self.decay)
        for name in ("real", "fake"):
            average = getattr(self, name)
            average += weight * (values[f"{name}_score"] - average)


@dataclass(frozen=True)
class Consistency(Regularizer):
    """λ_R E (D(x) − D(T(x)))² + λ_F E (D(G(z)) − D(T(G(z))))², T a random transformation (bCR, Zhao et al. 2021,
    arXiv:2002.04724, algorithm 1). With a ``fake_weight`` of 0 it is CR-GAN's (Zhang et al. 2020, arXiv:1910.12027).

    It costs the discriminator's step as many scores again.

    Args:
        policy: T, by ``DiffAugment``'s names.
        real_weight: λ_R; 10 in the paper.
        fake_weight: λ_F; 10 in the paper.

    Raises:
        ValueError: for an unknown name, or a weight that is negative or not finite.
    """

    policy: str | Sequence[str] = "translation,cutout"
    real_weight: float = 10.0
    fake_weight: float = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", DiffAugment(self.policy).policy)
        for name in ("real_weight", "fake_weight"):
            if not 0 <= (weight := getattr(self, name)) < math.inf:
                raise ValueError(f"{name}={weight}: Consistency needs a finite number, at least 0")

    @property
    def augmentation(self) -> Augmentation:  # type: ignore[override]
        """T."""
        return DiffAugment(self.policy)

    def __call__(self, scores: Pair, changed: Pair | None = None, memory: Any = None) -> Tensor:
        """The mean squared differences."""
        assert changed is not None
        return self._term(*scores, *changed)

    @float32_or_better
    def _term(self, real: Tensor, fake: Tensor, changed_real: Tensor, changed_fake: Tensor) -> Tensor:
        of_real = self.real_weight * (real - changed_real).square().mean()
        return of_real + self.fake_weight * (fake - changed_fake).square().mean()
