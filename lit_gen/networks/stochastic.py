"""Stacks of stochastic layers, z_1 nearest to x and z_T on top: one top-down pass for inference and generation.

Tensors of a layer carry K samples of N data, `(K, N, ...)`; a 1 in place of K stands for what all samples share.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lit_gen.distributions.gaussian import bound_log_scale, reparametrise
from lit_gen.precision import at_least_float32, float32_or_better

Normal = tuple[Tensor, Tensor]  # mean and log σ of independent Gaussians, each (K or 1, N or 1, *latent)


def over_samples(network: nn.Module, x: Tensor) -> Tensor:
    """`network`, which knows one batch dimension, on `(K, N, ...)`."""
    return network(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Latent(NamedTuple):
    """A layer's z `(K, N, *latent)`, and mean and log σ of the q that it was drawn from and of its p."""

    z: Tensor
    posterior: Normal  # q(z_t | ·); the prior's where nothing was inferred
    prior: Normal  # p(z_t | z_{>t})
    # Whether z_t follows q given the z_{>t} that its prior depends on, as in a top-down pass. Only then is KL(q ‖ p) in
    # closed form, averaged over z_{>t}, the layer's part of the bound. Bottom-up, z_{t+1} was drawn from z_t.
    independent: bool


class Conditional(nn.Module):
    """A Gaussian given `(K, N, ...)`: mean and bounded log σ from a network's output of twice the channels."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Normal:
        """Mean and log σ, `(K, N, *latent)`."""
        mean, raw = over_samples(self.layers, x).chunk(2, dim=2)
        return at_least_float32(mean), bound_log_scale(raw)


class Posterior(nn.Module, ABC):
    """How q(z_t | ·) comes about from p(z_t | z_{>t}), the evidence of x, and the state of the way down."""

    @abstractmethod
    def forward(self, prior: Normal, evidence: Any, state: Tensor) -> Normal:
        """Mean and log σ, `(K or 1, N, *latent)`."""


class Recognised(Posterior):
    """The posterior is the evidence itself: q(z_t | z_{t−1}), or q(z_T | x) on top of a ladder."""

    def forward(self, prior: Normal, evidence: Normal, state: Tensor) -> Normal:
        """The evidence."""
        return evidence


class PrecisionWeighted(Posterior):
    """The ladder's posterior (arXiv:1602.02282): the normalised product of p(z_t | z_{t+1}) and the evidence.

    1/σ_q² = 1/σ̂² + 1/σ_p² and μ_q = (μ̂/σ̂² + μ_p/σ_p²) σ_q², here with log σ throughout, so that no precision
    overflows: the evidence's weight is s(2 log σ_p − 2 log σ̂), with s the logistic function.
    """

    def forward(self, prior: Normal, evidence: Normal, state: Tensor) -> Normal:
        """Mean and log σ, `(K, N, *latent)`."""
        return precision_weighted(*prior, *evidence)


@float32_or_better
def precision_weighted(mean_p: Tensor, log_scale_p: Tensor, mean: Tensor, log_scale: Tensor) -> Normal:
    """Mean and log σ of the normalised product N(μ_p, σ_p²) N(μ̂, σ̂²), elementwise."""
    log_scale_q = -0.5 * torch.logaddexp(-2 * log_scale, -2 * log_scale_p)
    return torch.lerp(mean_p, mean, torch.sigmoid(2 * (log_scale_p - log_scale))), log_scale_q


class Residual(Posterior):
    """The posterior relative to the prior (NVAE, arXiv:2007.03898): N(μ_p + Δμ, (σ_p Δσ)²).

    Δμ and log Δσ come from the top-down state and the evidence of the same layer, the bidirectional inference of
    ResNet VAE (arXiv:1606.04934). With both zero q is p, and the divergence zero.

    Args:
        layers: from the channels of state and evidence, joined, to twice the latent's.
    """

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.difference = Conditional(*layers)

    def forward(self, prior: Normal, evidence: Tensor, state: Tensor) -> Normal:
        """Mean and log σ, `(K, N, *latent)`."""
        mean, log_scale = self.difference(
            torch.cat([state, evidence.expand(state.shape[0], *evidence.shape[1:])], dim=2)
        )
        return prior[0] + mean, prior[1] + log_scale


class TopDownLayer(nn.Module):
    """One layer on the way down: p(z_t | z_{>t}), the posterior that builds on it, and what the next layer gets.

    Inference and generation both pass through here, so that what is trained is what is sampled.

    Args:
        latent_shape: of z_t.
        prior: makes p(z_t | z_{>t}) from the state; None for N(0, I), on top.
        posterior: makes q from prior, evidence and state.
        transition: the state for the layer below from this layer's, joined with z_t; None where z_t is that state.
        independent: see `Latent`.
    """

    def __init__(
        self,
        latent_shape: tuple[int, ...],
        prior: Conditional | None,
        posterior: Posterior,
        transition: nn.Module | None = None,
        independent: bool = True,
    ):
        super().__init__()
        self.latent_shape = latent_shape
        self.prior, self.posterior, self.transition = prior, posterior, transition
        self.independent = independent

    def forward(
        self, state: Tensor, noise: Tensor, evidence: Any = None, z: Tensor | None = None
    ) -> tuple[Latent, Tensor]:
        """Draw z_t from q if there is evidence of x, else from p, unless it is given; then the state below.

        Args:
            state: what the layers above hand down, `(K, N, ...)`.
            noise: N(0, 1), `(K, N, *latent_shape)`.
            evidence: of x, in the form that the posterior takes, or None.
            z: a given z_t.
        """
        origin = noise.new_zeros(1, 1, *self.latent_shape)
        prior = (origin, origin) if self.prior is None else self.prior(state)
        posterior = prior if evidence is None else self.posterior(prior, evidence, state)
        z = reparametrise(posterior[0], posterior[1], noise) if z is None else z
        below = z if self.transition is None else over_samples(self.transition, torch.cat([state, z], dim=2))
        return Latent(z, posterior, prior, self.independent), below


class Hierarchy(nn.Module, ABC):
    """p(x | z_1, …) ∏_t p(z_t | z_{>t}) with N(0, I) on top, and a posterior over all layers.

    A subclass fills `layers` and `output` and says what evidence of x each layer gets.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        output_shape: of the likelihood's parameters.
        latent_shapes: of z_1, …, z_T.
    """

    layers: nn.ModuleList  # of z_1, …, z_T, each a TopDownLayer
    output: nn.Module  # the state below z_1, (N, ...), to the likelihood's parameters (N, *output_shape)

    def __init__(
        self, image_shape: tuple[int, ...], output_shape: tuple[int, ...], latent_shapes: list[tuple[int, ...]]
    ):
        super().__init__()
        self.image_shape, self.output_shape = image_shape, output_shape
        self.latent_shapes = latent_shapes
        self.sizes = [math.prod(shape) for shape in latent_shapes]
        self.latent_dim = sum(self.sizes)

    @abstractmethod
    def evidence(self, x: Tensor, noise: list[Tensor], given: Sequence[Tensor | None]) -> list[Any]:
        """What each layer's posterior learns of x; `noise` and `given` z for those that draw on the way up."""

    def initial_state(self, noise: Tensor) -> Tensor:
        """What the top layer gets from above, for noise `(K, N, latent_dim)`; an N(0, I) on top looks at nothing."""
        return noise

    def split(self, noise: Tensor) -> list[Tensor]:
        """`(K, N, latent_dim)`, z_1's entries first, to `(K, N, *latent_shape)` a layer."""
        parts = noise.split(self.sizes, dim=2)
        return [part.unflatten(2, shape) for part, shape in zip(parts, self.latent_shapes, strict=True)]

    def forward(
        self, noise: Tensor, x: Tensor | None = None, given: Sequence[Tensor | None] = ()
    ) -> tuple[Tensor, list[Latent]]:
        """Pass down through all layers: with `x` inference, without it generation.

        Args:
            noise: N(0, 1), `(K, N, latent_dim)`, z_1's entries first.
            x: the observations, `(N, *image_shape)`, or None.
            given: z_1, …, z_T to take in place of drawing them, each `(K, N, *latent)` or None. With `x` the layers
                then hold q of x at those z.

        Returns:
            The likelihood's parameters `(K, N, *output_shape)`, and the layers, z_1 first.
        """
        parts = self.split(noise)
        depth = len(parts)
        given = given or [None] * depth
        evidence = [None] * depth if x is None else self.evidence(x, parts, given)
        state, latents = self.initial_state(noise), []
        for t in reversed(range(depth)):
            latent, state = self.layers[t](state, parts[t], evidence[t], given[t])
            latents.append(latent)
        return over_samples(self.output, state), latents[::-1]
