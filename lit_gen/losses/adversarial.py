"""Losses of the two players. All take raw scores, a mean over whatever shape they have, and are minimised."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from lit_gen.precision import float32_or_better


class AdversarialLoss(ABC):
    """What the discriminator D and the generator G minimise, given raw scores `(N,)` or of any other shape.

    Losses are float32 with autocast off, float64 if the scores are.
    """

    @abstractmethod
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The discriminator's loss, a scalar, of D(x) and D(G(z))."""

    @abstractmethod
    def generator(self, fake_scores: Tensor) -> Tensor:
        """The generator's loss, a scalar, of D(G(z))."""


def _cross_entropy(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """−E log s(D(x)) − E log(1 − s(D(G(z)))), s the logistic function: −log s(t) = softplus(−t)."""
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """GAN whose generator maximises log s(D(G(z))) (Goodfellow et al. 2014, arXiv:1406.2661, section 3).

    D: −E log s(D(x)) − E log(1 − s(D(G(z)))).  G: −E log s(D(G(z))).
    """

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Binary cross-entropy, real against fake; 2 log 2 where D can't tell."""
        return _cross_entropy(real_scores, fake_scores)

    @float32_or_better
    def generator(self, fake_scores: Tensor) -> Tensor:
        """−E log s(D(G(z))): its slope in the score tends to −1 where D rejects the fakes."""
        return F.softplus(-fake_scores).mean()


@dataclass(frozen=True)
class Minimax(AdversarialLoss):
    """GAN as the two-player zero-sum game (Goodfellow et al. 2014, arXiv:1406.2661, equation 1).

    D: −E log s(D(x)) − E log(1 − s(D(G(z)))).  G: E log(1 − s(D(G(z)))), which saturates where D rejects the
        fakes.
    """

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Binary cross-entropy, real against fake: −V(D, G), at best log 4 − 2 JS(p ‖ p_G)."""
        return _cross_entropy(real_scores, fake_scores)

    @float32_or_better
    def generator(self, fake_scores: Tensor) -> Tensor:
        """E log(1 − s(D(G(z)))): its slope in the score tends to 0 where D rejects the fakes."""
        return -F.softplus(fake_scores).mean()


@dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """LSGAN (Mao et al. 2017, arXiv:1611.04076, equation 2), with the paper's a, b and c.

    D: ½E(D(x) − b)² + ½E(D(G(z)) − a)².  G: ½E(D(G(z)) − c)².

    Args:
        real_target: b, the discriminator's target for data.
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

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Half the squared distances from the targets."""
        real = (real_scores - self.real_target).square().mean()
        fake = (fake_scores - self.fake_target).square().mean()
        return 0.5 * (real + fake)

    @float32_or_better
    def generator(self, fake_scores: Tensor) -> Tensor:
        """Half the squared distance from the generator's target."""
        return 0.5 * (fake_scores - self.generator_target).square().mean()


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """Hinge loss (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, eqs. 16 and 17).

    D: E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))).  G: −E D(G(z)).
    """

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """No loss for data above 1 and samples below −1."""
        return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()

    @float32_or_better
    def generator(self, fake_scores: Tensor) -> Tensor:
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
    def generator(self, fake_scores: Tensor) -> Tensor:
        """Minus the mean score."""
        return -fake_scores.mean()
