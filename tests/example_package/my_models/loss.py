"""An adversarial loss."""

from dataclasses import dataclass

from torch import Tensor

from lit_gen.losses import AdversarialLoss


@dataclass(frozen=True)
class TotalVariation(AdversarialLoss):
    """f-GAN of the total variation (Nowozin et al. 2016, arXiv:1606.00709, table 2), with T = bound · tanh D.

    D: −E T(x) + E T(G(z)).  G: −E T(G(z)).
    """

    bound: float = 0.5

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """−2 · bound where D tells all apart, 0 where it can't."""
        return self.bound * (fake_scores.tanh().mean() - real_scores.tanh().mean())

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None = None) -> Tensor:
        """−bound where D takes all samples for data."""
        return -self.bound * fake_scores.tanh().mean()
