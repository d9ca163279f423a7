"""Distributions of latents, as priors give them: a log density, and samples that are made of normal noise."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lit_gen.distributions.gaussian import kl_normal, kl_standard_normal, normal_log_prob
from lit_gen.distributions.mixtures import choose, log_mixture, log_of_full_normals
from lit_gen.precision import logsumexp


class Distribution(ABC):
    """p(z). Samples are a function of N(0, I) noise of z's own shape, so that a seed fixes them."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, `(*)`, of z `(*, D)`."""

    @abstractmethod
    def sample(self, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """Turn N(0, I) into samples of p(z).

        Args:
            noise: `(N, D)`.
            temperature: factor on the standard deviations, 1 for p(z) itself.
        """


class DiagonalNormal(Distribution):
    """N(μ, diag σ²), whose divergence from another one has a closed form.

    Args:
        mean: μ, of z's shape or one that broadcasts with it.
        log_scale: log σ, likewise.
        event_dims: dimensions of one z, the last of the shape: 1 for vectors, 3 for maps `(C, H, W)`.
    """

    def __init__(self, mean: Tensor, log_scale: Tensor, event_dims: int = 1):
        self.mean, self.log_scale, self.event_dims = mean, log_scale, event_dims

    def elements(self, z: Tensor) -> Tensor:
        """Nats of every dimension, of z's shape."""
        return normal_log_prob(z, self.mean, self.log_scale)

    def log_prob(self, z: Tensor) -> Tensor:
        """Their sum."""
        return self.elements(z).flatten(-self.event_dims).sum(-1)

    def sample(self, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """μ + temperature σ ε."""
        return self.mean + temperature * torch.exp(self.log_scale) * noise

    def kl(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        """KL(N(mean, σ²) ‖ p), elementwise nats, never negative."""
        return kl_normal(mean, log_scale, self.mean, self.log_scale)


class UnitNormal(DiagonalNormal):
    """N(0, I).

    Args:
        event_dims: as for `DiagonalNormal`.
    """

    def __init__(self, event_dims: int = 1):
        super().__init__(torch.zeros(()), torch.zeros(()), event_dims)

    def sample(self, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """The noise, scaled."""
        return temperature * noise

    def kl(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        """½(μ² + σ² − 1 − log σ²)."""
        return kl_standard_normal(mean, log_scale)


class Mixture(Distribution):
    """Σ_c π_c N(μ_c, diag σ_c²). A component is chosen by the first entry of the noise: see `choose`.

    Args:
        log_weights: log π, `(C,)`.
        means: μ, `(C, D)`.
        log_scales: log σ, `(C, D)`.
    """

    def __init__(self, log_weights: Tensor, means: Tensor, log_scales: Tensor):
        self.log_weights, self.means, self.log_scales = log_weights, means, log_scales

    def log_prob(self, z: Tensor) -> Tensor:
        """log Σ_c π_c N(z; μ_c, diag σ_c²)."""
        return log_mixture(z, self.log_weights, self.means, self.log_scales)

    def sample(self, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """μ_c + temperature σ_c ε."""
        index, noise = choose(self.log_weights, noise)
        return self.means[index] + temperature * torch.exp(self.log_scales[index]) * noise


class FullMixture(Distribution):
    """Σ_c π_c N(μ_c, L_c L_cᵀ).

    Args:
        log_weights: log π, `(C,)`.
        means: μ, `(C, D)`.
        factors: L, lower triangular, `(C, D, D)`.
    """

    def __init__(self, log_weights: Tensor, means: Tensor, factors: Tensor):
        self.log_weights, self.means, self.factors = log_weights, means, factors

    def log_prob(self, z: Tensor) -> Tensor:
        """log Σ_c π_c N(z; μ_c, L_c L_cᵀ)."""
        return logsumexp(log_of_full_normals(z, self.means, self.factors) + self.log_weights, -1)

    def sample(self, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """μ_c + temperature L_c ε."""
        index, noise = choose(self.log_weights, noise)
        return self.means[index] + temperature * (self.factors[index] @ noise.unsqueeze(2)).squeeze(2)
