"""Relativistic losses: the discriminator scores how much more real data is than samples, not each by itself."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from lit_gen.losses.adversarial import AdversarialLoss
from lit_gen.precision import float32_or_better


@dataclass(frozen=True)
class RelativisticPairing(AdversarialLoss):
    """RpGAN (Jolicoeur-Martineau 2018, arXiv:1807.00734), the loss of R3GAN (Huang et al. 2025, arXiv:2501.05441).

    D: E f(D(G(z)) − D(x)).  G: E f(D(x) − D(G(z))), f(t) = log(1 + eᵗ), the mean over pairs of one real and one
    generated sample at the same position. R3GAN holds it by `R1R2`; unregularised it need not converge.
    """

    needs_real: ClassVar[bool] = True

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """E f(D(G(z)) − D(x)); log 2 where D can't tell.

        Raises:
            ValueError: for scores of two shapes.
        """
        return F.softplus(-_margins(real_scores, fake_scores)).mean()

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """E f(D(x) − D(G(z))).

        Raises:
            ValueError: for scores of two shapes, or none of real samples.
        """
        return F.softplus(_margins(_given(self, real_scores), fake_scores)).mean()


@dataclass(frozen=True)
class RelativisticAverage(AdversarialLoss):
    """RaGAN (Jolicoeur-Martineau 2018, arXiv:1807.00734): each half against the mean score of the other.

    D: −E log s(D(x) − E D(G(z))) − E log(1 − s(D(G(z)) − E D(x))), s the logistic function.
    G: −E log s(D(G(z)) − E D(x)) − E log(1 − s(D(x) − E D(G(z)))).

    The means couple the batch. They are taken over the scores at hand: `accumulate` and several processes train
    on the means of their parts, which is not the loss of the whole batch.
    """

    needs_real: ClassVar[bool] = True
    couples_batch: ClassVar[bool] = True

    @float32_or_better
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Both halves' cross-entropy; 2 log 2 where D can't tell."""
        return _against_the_mean(high=real_scores, low=fake_scores)

    @float32_or_better
    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """The same with the halves exchanged.

        Raises:
            ValueError: without scores of real samples.
        """
        return _against_the_mean(high=fake_scores, low=_given(self, real_scores))


def _against_the_mean(high: Tensor, low: Tensor) -> Tensor:
    return F.softplus(low.mean() - high).mean() + F.softplus(low - high.mean()).mean()


def _margins(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """D(x) − D(G(z)), pair by pair."""
    if real_scores.shape != fake_scores.shape:
        raise ValueError(
            f"real_scores {tuple(real_scores.shape)}, fake_scores {tuple(fake_scores.shape)}: RelativisticPairing "
            "pairs them one by one, and needs one shape"
        )
    return real_scores - fake_scores


def _given(loss: AdversarialLoss, real_scores: Tensor | None) -> Tensor:
    if real_scores is None:
        raise ValueError(
            f"real_scores=None: the generator's loss of {type(loss).__name__} needs scores of real samples"
        )
    return real_scores
