"""Arithmetic of Gaussian mixtures: densities in little memory, choice of a component, EM."""

import math
import warnings

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lit_gen.distributions.gaussian import normal_log_prob
from lit_gen.precision import float32_or_better, float64_device, logsumexp, to_float64

CHUNK = 2**20  # differences z − μ in memory at once
TOLERANCE = 1e-6  # nats that cancellation may cost


@float32_or_better
def log_mixture(z: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """log Σ_c π_c N(z; μ_c, diag σ_c²), `(*)`, of z `(*, D)`, in memory of `(*, C)` numbers.

    Up to CHUNK differences (z_d − μ_cd)/σ_cd are formed as they stand. More of them are multiplied out for float32 z,
    to a product of matrices in float64,

        Σ_d (z_d − μ_cd)²/σ_cd² = Σ_d z_d²/σ_cd² − 2 Σ_d z_d μ_cd/σ_cd² + Σ_d μ_cd²/σ_cd²,

    whose terms cancel where σ is small. A component's nats err by at most (D + 4) 2⁻⁵³ Σ_d (|z_d| + |μ_cd|)²/σ_cd².
    Components of which this exceeds TOLERANCE at the largest |z_d|, with D = 32, |z| and |μ| of 4 below σ = 0.003,
    keep their differences, in chunks that the gradient forms again; so do all on devices without float64.
    """
    if z.numel() * len(means) <= CHUNK:
        return logsumexp(_of_components(z, means, log_scales) + log_weights, -1)
    exact = torch.ones_like(log_weights, dtype=torch.bool)
    if z.dtype == torch.float32 and float64_device(z.device) == z.device:
        exact = ~(_cancellation(z, means, log_scales) <= TOLERANCE)  # NaN too
    rough = ~exact
    parts = []
    if exact.any():
        parts.append(_by_differences(z, means[exact], log_scales[exact]) + log_weights[exact])
    if rough.any():
        parts.append(_by_products(z, means[rough], log_scales[rough], log_weights[rough]))
    return logsumexp(torch.cat(parts, -1), -1).to(z.dtype)


def _of_components(z: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    return normal_log_prob(z.unsqueeze(-2), means, log_scales).sum(-1)


def _by_differences(z: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """log N(z; μ_c, diag σ_c²), `(*, C)`, some components at a time, in the gradient too."""
    size = max(1, CHUNK // z.numel())
    of_parts = [
        checkpoint(_of_components, z, mean, log_scale, use_reentrant=False, preserve_rng_state=False)
        for mean, log_scale in zip(means.split(size), log_scales.split(size), strict=True)
    ]
    return torch.cat(of_parts, -1)


def _by_products(z: Tensor, means: Tensor, log_scales: Tensor, log_weights: Tensor) -> Tensor:
    """log π_c N(z; μ_c, diag σ_c²), `(*, C)` float64."""
    rows, means, log_scales = z.flatten(0, -2).double(), means.double(), log_scales.double()
    precisions = torch.exp(-2 * log_scales)
    constants = log_weights - (0.5 * means.square() * precisions + log_scales + 0.5 * math.log(2 * math.pi)).sum(-1)
    factors = torch.cat([-0.5 * precisions, means * precisions], 1)
    return torch.addmm(constants, torch.cat([rows.square(), rows], 1), factors.T).unflatten(0, z.shape[:-1])


@torch.no_grad()
def _cancellation(z: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """The bound on the products' error in nats, `(C,)`."""
    reach = z.abs().flatten(0, -2).amax(0).double()
    squares = ((reach + means.abs()) * torch.exp(-log_scales.double())).square().sum(-1)
    return (z.shape[-1] + 4) * 2.0**-53 * squares


@float32_or_better
def log_of_full_normals(z: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """log N(z; μ_c, L_c L_cᵀ), `(*, C)`, of z `(*, D)`, lower triangular L `(C, D, D)`."""
    differences = (z.unsqueeze(-2) - means).unsqueeze(-1)
    standardised = torch.linalg.solve_triangular(factors, differences, upper=False).squeeze(-1)
    log_determinants = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * standardised.square().sum(-1) - log_determinants - 0.5 * z.shape[-1] * math.log(2 * math.pi)


def choose(log_weights: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a component for each row of N(0, I) noise, and leave N(0, I) that doesn't depend on it.

    u = Φ(first entry) is uniform. It falls into one of the intervals that have the weights as their lengths; its place
    in there is uniform again, and Φ⁻¹ of it the new first entry.

    Args:
        log_weights: log π, `(C,)`.
        noise: `(N, D)`.

    Returns:
        Indices int64 `(N,)` and noise `(N, D)`.
    """
    weights = torch.softmax(to_float64(log_weights), 0)
    ends = weights.cumsum(0)
    u = torch.special.ndtr(to_float64(noise[:, 0]))
    index = torch.searchsorted(ends, u).clamp(max=len(weights) - 1)
    place = ((u - ends[index]) / weights[index] + 1).clamp(1e-9, 1 - 1e-9)
    first = torch.special.ndtri(place).to(noise.dtype).to(noise.device)
    return index.to(noise.device), torch.cat([first.unsqueeze(1), noise[:, 1:]], 1)


def fit_mixture(z: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """log π `(C,)`, means `(C, D)` and Cholesky factors `(C, D, D)` of a mixture fitted by EM to z `(M, D)`.

    Args:
        z: float64 on the CPU, as are the results.
        components: C.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as EM  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred iterations are enough to sample from
        fitted = EM(components, random_state=0).fit(z.numpy())
    log_weights, means, covariances = map(torch.from_numpy, (fitted.weights_, fitted.means_, fitted.covariances_))
    return log_weights.log(), means, torch.linalg.cholesky(covariances)
