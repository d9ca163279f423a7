"""What the latents of a variational autoencoder carry: active units, divergences, information."""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_gen.distributions import DiagonalNormal, normal_log_prob
from lit_gen.losses import LayerTerms
from lit_gen.precision import float32_or_better, to_float64


def elementwise_kl(layer: LayerTerms) -> Tensor | None:
    """KL(q ‖ p) in nats of each latent dimension, ``(N, D)``: closed form, or estimated at the layer's samples.

    None where the prior has no density for each dimension on its own.
    """
    (mean, log_scale), prior = layer.posterior, layer.p
    if not isinstance(prior, DiagonalNormal):
        return None
    if layer.independent:
        kl = prior.kl(mean, log_scale)
    else:
        kl = normal_log_prob(layer.z, mean, log_scale) - prior.elements(layer.z)
    return (kl.mean(0) if kl.ndim == layer.z.ndim else kl).flatten(1)


def posterior_mean(layer: LayerTerms) -> tuple[Tensor, Tensor]:
    """E[z | x] ``(N, D)`` float64, and the variance ``(D,)`` that it owes to its estimate from K samples.

    Where q(z | x, …) depends on samples of other layers, E[z | x] is the mean over them, and the variance that of such
    a mean, averaged over images; with K = 1 it isn't known and counts as 0.
    """
    mean = to_float64(layer.posterior[0])
    if mean.ndim < layer.z.ndim:
        return mean.flatten(1), mean.new_zeros(mean.shape[1:].numel())
    samples = len(mean)
    variance = mean.flatten(2).var(0, correction=min(1, samples - 1)).mean(0) / samples
    return mean.mean(0).flatten(1), variance


def own_posterior(layer: LayerTerms) -> tuple[Tensor, Tensor] | None:
    """Mean and log σ ``(N, D)`` of q(z | x); None where they differ by sample, as q depends on other layers."""
    mean, log_scale = layer.posterior
    if mean.ndim == layer.z.ndim:
        if len(mean) > 1:
            return None
        mean, log_scale = mean[0], log_scale[0]
    return mean.flatten(1), log_scale.flatten(1)


def pool(parts: Tensor) -> Tensor:
    """The moments of the union of disjoint sets of rows, each column for itself (Chan, Golub & LeVeque 1983).

    Args:
        parts: ``(P, 3, D)``: counts, means and sums of squared deviations; empty sets are allowed.
    """
    counts, means, scatters = parts.unbind(1)
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count.clamp(min=1)
    return torch.stack([count, mean, scatters.sum(0) + (counts * (means - mean).square()).sum(0)])


class LatentUnits(Metric):
    """Which units of a stochastic layer are active, by two definitions, and its divergence.

    - ``active_units``: units with Var_x(E[z | x]) > threshold (Burda et al. 2016, arXiv:1509.00519, section 5.2).
      What the variance owes to an estimated E[z | x] is subtracted,
    - ``active_units_kl``: units whose KL(q ‖ p), averaged over images, is above the threshold in nats,
    - ``kl_nats``: mean KL of the layer, all units together.

    Where the prior has no density for each dimension, ``active_units_kl`` is left out.

    Args:
        units: D.
        threshold: The papers' 0.01.
    """

    full_state_update = False
    higher_is_better = None
    moments: Tensor
    excess: Tensor
    kl: Tensor
    unit_kl: Tensor

    def __init__(self, units: int, threshold: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.add_state("moments", torch.zeros(3, units, dtype=torch.float64), dist_reduce_fx=pool)
        self.add_state("excess", torch.zeros(units, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("kl", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("unit_kl", torch.zeros(units, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, layer: LayerTerms) -> None:
        """Add the layer's terms for N images; N = 0 adds nothing.

        Raises:
            ValueError: for a layer of another number of units.
        """
        means, excess = (x.to(self.moments.device) for x in posterior_mean(layer))
        n = len(means)
        if len(excess) != len(self.excess):
            raise ValueError(f"layer of {len(excess)} units: LatentUnits was made for units={len(self.excess)}")
        if n == 0:
            return
        scatter = n * means.var(0, correction=0)
        batch = torch.stack([torch.full_like(excess, n), means.mean(0), scatter])
        self.moments = pool(torch.stack([self.moments, batch]))
        self.excess = self.excess + n * excess
        self.kl = self.kl + layer.kl.to(self.kl.device).double().mean(0).sum()
        units = elementwise_kl(layer)
        added = (
            torch.full_like(self.unit_kl, math.nan) if units is None else units.to(self.unit_kl.device).double().sum(0)
        )
        self.unit_kl = self.unit_kl + added

    @property
    def variance(self) -> Tensor:
        """Var_x(E[z | x]) ``(D,)`` without bias, so that it can be a little below 0; of this process's images."""
        count = self.moments[0]
        return self.moments[2] / (count - 1).clamp(min=1) - self.excess / count.clamp(min=1)

    def compute(self) -> dict[str, float]:
        """The values above over all processes' images (a collective); without any, the divergence is NaN."""
        count = self.moments[0, 0]
        values = {"kl_nats": float(self.kl / count), "active_units": float((self.variance > self.threshold).sum())}
        if not self.unit_kl.isnan().any():
            values["active_units_kl"] = float((self.unit_kl / count > self.threshold).sum())
        return values


@float32_or_better
def aggregate_log_density(z: Tensor, mean: Tensor, log_scale: Tensor, chunk: int = 2**24) -> Tensor:
    """log q(z) = log (1/N) Σ_n N(z; μ_n, σ_n²), the exact mixture over N images, in nats ``(M,)``.

    Args:
        z: ``(M, D)``.
        mean: μ_n, ``(N, D)``.
        log_scale: log σ_n, ``(N, D)``.
        chunk: Numbers in memory at once, of M · N · D.
    """
    rows = max(1, chunk // mean.numel())
    pairs = (normal_log_prob(part.unsqueeze(1), mean, log_scale).sum(-1) for part in z.split(rows))
    return torch.cat([part.logsumexp(1) for part in pairs]) - math.log(len(mean))


class AggregatePosterior(Metric):
    """The two parts of a VAE's KL divergence, E_x KL(q(z|x) ‖ p(z)) = I_q(x; z) + KL(q(z) ‖ p(z)).

    - ``mutual_information_nats``: E log q(z|x) / q(z), what z tells of which image it came from,
    - ``aggregate_kl_nats``: E log q(z) / p(z), how far the codes of all images together are from the prior.

    Hoffman & Johnson 2016, "ELBO surgery". q(z) is the mixture of the posteriors of all images given, which are kept:
    the cost is the square of their number, of which the information can't exceed the logarithm. For layers whose
    posterior depends on x alone.

    Args:
        marginal: Whether the layer's prior is p(z); the second value is left out for p(z | layers above).
    """

    full_state_update = False
    higher_is_better = None
    z: list[Tensor]
    mean: list[Tensor]
    log_scale: list[Tensor]
    log_posterior: list[Tensor]
    log_prior: list[Tensor]

    def __init__(self, marginal: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.marginal = marginal
        for name in ("z", "mean", "log_scale", "log_posterior", "log_prior"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, layer: LayerTerms) -> None:
        """Add N images by a layer's terms, of which the first sample is taken.

        Raises:
            ValueError: if q depends on the samples of another layer.
        """
        posterior = own_posterior(layer)
        if posterior is None:
            raise ValueError("AggregatePosterior: the layer's q(z | x) is no Gaussian, it depends on other layers")
        self.mean.append(posterior[0])
        self.log_scale.append(posterior[1])
        self.z.append(layer.z[0].flatten(1))
        self.log_posterior.append(layer.log_posterior[0])
        self.log_prior.append(layer.log_prior[0])

    def compute(self) -> dict[str, float]:
        """The values above over all processes' images (a collective).

        Raises:
            ValueError: without any image.
        """
        if not any(part.numel() for part in self.z):
            raise ValueError("AggregatePosterior of 0 images: at least 1 is needed")
        z, mean, log_scale, log_posterior, log_prior = (
            to_float64(dim_zero_cat(state))
            for state in (self.z, self.mean, self.log_scale, self.log_posterior, self.log_prior)
        )
        log_aggregate = aggregate_log_density(z, mean, log_scale)
        values = {"mutual_information_nats": float((log_posterior - log_aggregate).mean())}
        if self.marginal:
            values["aggregate_kl_nats"] = float((log_aggregate - log_prior).mean())
        return values
