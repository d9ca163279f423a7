"""What a latent variable model's likelihood and divergences are made of, for the objectives to combine."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lit_gen.distributions.gaussian import normal_log_prob
from lit_gen.distributions.of_latents import DiagonalNormal, Distribution, UnitNormal

MeanAndLogScale = tuple[Tensor, Tensor]


@dataclass(eq=False)
class LayerTerms:
    """One stochastic layer's K samples of z for each of N images; what an objective doesn't ask for isn't computed.

    Args:
        z: Samples of q, ``(K, N, *latent shape)``, float32 or better.
        posterior: Mean and log σ of q(z_l | x, …), ``(N, *latent shape)``, or with the K samples in front.
        prior: p(z_l | …) of z; None for N(0, I).
        detach_posterior: Whether log q takes q's parameters as constants, so that only the path through z is left.
        independent: Whether z_l follows q whatever the layers that its prior depends on, as all but a chain's lower
            ones do. Only then is a closed-form KL, averaged over those layers, this layer's part of the bound.
    """

    z: Tensor
    posterior: MeanAndLogScale
    prior: Distribution | None = None
    detach_posterior: bool = False
    independent: bool = True

    @cached_property
    def p(self) -> Distribution:
        """The prior, N(0, I) where none is given."""
        return UnitNormal(self.z.ndim - 2) if self.prior is None else self.prior

    @cached_property
    def log_prior(self) -> Tensor:
        """log p(z_l | …) in nats, ``(K, N)``."""
        return self.p.log_prob(self.z)

    @cached_property
    def log_posterior(self) -> Tensor:
        """log q(z_l | …) in nats, ``(K, N)``."""
        mean, log_scale = self.posterior
        if self.detach_posterior:
            mean, log_scale = mean.detach(), log_scale.detach()
        return self._sum(normal_log_prob(self.z, mean, log_scale))

    @cached_property
    def kl(self) -> Tensor:
        """KL(q ‖ p) in nats, ``(K, N)``, or ``(1, N)`` if the samples share it.

        Closed form of two Gaussians, never negative; else the estimate log q − log p at the samples.
        """
        if not (self.independent and isinstance(self.p, DiagonalNormal)):
            return self.log_posterior - self.log_prior
        kl = self.p.kl(*self.posterior)
        return self._sum(kl if kl.ndim == self.z.ndim else kl.unsqueeze(0))

    def _sum(self, elements: Tensor) -> Tensor:
        return elements.flatten(2).sum(2)


@dataclass(eq=False)
class Terms:
    """The terms of log p(x, z) − log q(z | x) for K samples of z for each of N images.

    Args:
        log_likelihood: log p(x | z) in nats, ``(K, N)``.
        layers: The stochastic layers, nearest to x first.
    """

    log_likelihood: Tensor
    layers: list[LayerTerms]

    @cached_property
    def log_weights(self) -> Tensor:
        """log w = log p(x | z) + Σ_l (log p(z_l | …) − log q(z_l | …)) in nats, ``(K, N)``."""
        return self.log_likelihood + sum(layer.log_prior - layer.log_posterior for layer in self.layers)

    @property
    def kls(self) -> list[Tensor]:
        """KL of each layer in nats, averaged over samples and images."""
        return [layer.kl.mean() for layer in self.layers]
