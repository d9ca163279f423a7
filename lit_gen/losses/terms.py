"""What a latent variable model's likelihood and divergences are made of, for the objectives to combine."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lit_gen.distributions.gaussian import kl_normal, kl_standard_normal, normal_log_prob

MeanAndLogScale = tuple[Tensor, Tensor]
LogDensity = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class LayerTerms:
    """One stochastic layer's K samples of z for each of N images; what an objective doesn't ask for isn't computed.

    Args:
        z: Samples of q, ``(K, N, *latent shape)``, float32 or better.
        posterior: Mean and log σ of q(z_l | x, …), ``(N, *latent shape)``, or with the K samples in front.
        prior: p(z_l | …): mean and log σ that broadcast with the posterior's; or any log density, a function of z
            that returns ``(K, N)``; or None for N(0, I).
        detach_posterior: Whether log q takes q's parameters as constants, so that only the path through z is left.
    """

    z: Tensor
    posterior: MeanAndLogScale
    prior: MeanAndLogScale | LogDensity | None = None
    detach_posterior: bool = False

    @cached_property
    def log_prior(self) -> Tensor:
        """log p(z_l | …) in nats, ``(K, N)``."""
        if callable(self.prior):
            return self.prior(self.z)
        mean, log_scale = self.prior or (self.z.new_zeros(()), self.z.new_zeros(()))
        return self._sum(normal_log_prob(self.z, mean, log_scale))

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
        if callable(self.prior):
            return self.log_posterior - self.log_prior
        kl = kl_standard_normal(*self.posterior) if self.prior is None else kl_normal(*self.posterior, *self.prior)
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
