"""Losses of the two players. All take raw scores, a mean over whatever shape they have, and are minimised."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from lit_gen.precision import float32_or_better


class AdversarialLoss(ABC):
    """What the discriminator D and the generator G minimise, given raw scores `(N,)` or of any other shape.

    Losses are float32 with autocast off, float64 if the scores are.

    Attributes:
        needs_real: whether the generator's loss compares its samples with real ones, whose scores it then needs.
        couples_batch: whether it is no mean over samples, so that parts of a batch, and processes, each have their own.
    """

    needs_real: ClassVar[bool] = False
    couples_batch: ClassVar[bool] = False

    @abstractmethod
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The discriminator's loss, a scalar, of D(x) and D(G(z))."""

    @abstractmethod
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """The generator's loss, a scalar, of D(G(z)), and of D(x) where `needs_real`."""

    @property
    def boundary(self) -> float | None:
        """The score at which the best D finds data and samples equally likely; None where scores have no zero."""
        return None


@dataclass(frozen=True)
class _CrossEntropy(AdversarialLoss):
    """A game whose discriminator tells real from fake by cross-entropy."""

    real_label: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.real_label <= 1:
            raise ValueError(f"real_label={self.real_label}: {type(self).__name__} needs a number above 0, at most 1")

    @property
    def boundary(self) -> float:
        """0, and log a/(2 − a) with data labelled a."""
        return math.log(self.real_label / (2 - self.real_label))

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Cross-entropy, real against fake; 2 log 2 where D can't tell. Here −log s(t) = softplus(−t)."""
        real = self.real_label * F.softplus(-real_scores).mean()
        if self.real_label < 1:
            real = real + (1 - self.real_label) * F.softplus(real_scores).mean()
        return real + F.softplus(fake_scores).mean()


@dataclass(frozen=True)
class NonSaturating(_CrossEntropy):
    """GAN whose generator maximises log s(D(G(z))) (Goodfellow et al. 2014, arXiv:1406.2661, section 3).

    D: −E log s(D(x)) − E log(1 − s(D(G(z)))), s the logistic function.  G: −E log s(D(G(z))).

    Args:
        real_label: a, the discriminator's label for data: −E [a log s(D(x)) + (1 − a) log(1 − s(D(x)))] takes the
            place of its first term. Below 1 it is one-sided label smoothing (Salimans et al. 2016,
            arXiv:1606.03498, section 3.4), for which the best s(D) is a p/(p + p_G); the generator's loss stays.

    Raises:
        ValueError: for a label that is not above 0 and at most 1.
    """

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """−E log s(D(G(z))): its slope in the score tends to −1 where D rejects the fakes."""
        return F.softplus(-fake_scores).mean()


@dataclass(frozen=True)
class Minimax(_CrossEntropy):
    """GAN as the two-player zero-sum game (Goodfellow et al. 2014, arXiv:1406.2661, equation 1).

    D: −E log s(D(x)) − E log(1 − s(D(G(z)))) = −V(D, G), at best log 4 − 2 JS(p ‖ p_G).
    G: E log(1 − s(D(G(z)))), which saturates where D rejects the fakes.

    Args:
        real_label: the discriminator's label for data; below 1 one-sided label smoothing, as in `NonSaturating`.

    Raises:
        ValueError: for a label that is not above 0 and at most 1.
    """

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """E log(1 − s(D(G(z)))): its slope in the score tends to 0 where D rejects the fakes."""
        return -F.softplus(fake_scores).mean()


@dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """LSGAN (Mao et al. 2017, arXiv:1611.04076, equation 2), with the paper's a, b and c.

    D: ½E(D(x) − b)² + ½E(D(G(z)) − a)².  G: ½E(D(G(z)) − c)².

    Args:
        real_target: b, the discriminator's target for data; 0.9 with the other defaults is one-sided label
            smoothing (Salimans et al. 2016, arXiv:1606.03498).
        fake_target: a, its target for generated samples.
        generator_target: c, what the generator wants D to say. With b − c = 1 and b − a = 2 the game is
            Pearson's χ².

    Raises:
        ValueError: for a target that is not finite, or equal targets for real and fake.
    """

    real_target: float = 1.0
    fake_target: float = 0.0
    generator_target: float = 1.0

    def __post_init__(self) -> None:
        for name, target in vars(self).items():
            if not math.isfinite(target):
                raise ValueError(f"{name}={target}: LeastSquares needs a finite number")
        if self.real_target == self.fake_target:
            raise ValueError(f"real_target={self.real_target}, fake_target={self.fake_target}: they must differ")

    @property
    def boundary(self) -> float:
        """Midway between both targets."""
        return (self.real_target + self.fake_target) / 2

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Half the squared distances from the targets."""
        real = (real_scores - self.real_target).square().mean()
        fake = (fake_scores - self.fake_target).square().mean()
        return 0.5 * (real + fake)

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """Half the squared distance from the generator's target."""
        return 0.5 * (fake_scores - self.generator_target).square().mean()


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """Hinge loss (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, eqs. 16 and 17).

    D: E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))).  G: −E D(G(z)).
    """

    @property
    def boundary(self) -> float:
        """0, between both margins."""
        return 0.0

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """No loss for data above 1 and samples below −1."""
        return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """Minus the mean score."""
        return -fake_scores.mean()


@dataclass(frozen=True)
class Wasserstein(AdversarialLoss):
    """WGAN (Arjovsky et al. 2017, arXiv:1701.07875): a distance if a penalty or constraint holds D Lipschitz.

    D: E D(G(z)) − E D(x), minus the estimate of W₁.  G: −E D(G(z)).
    """

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Minus the gap of mean scores."""
        return fake_scores.mean() - real_scores.mean()

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """Minus the mean score."""
        return -fake_scores.mean()
