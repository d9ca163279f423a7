"""Diagonal Gaussians by mean and log scale, log σ: KL, log density, reparametrisation and the bound on log σ.

Everything here is float32 with autocast off (float64 stays float64), and elementwise: sum over dimensions,
average over the batch, in one place, the module's objective.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_gen.precision import float32_or_better


def _twice_kl_of_scales(log_ratio: Tensor) -> Tensor:
    """r² − 1 − log r² for log r = `log_ratio`: twice the part of the KL that two scales of ratio r cause.

    `expm1` keeps the digits where r is near 1, the collapsed posterior. The exact value is never negative; the clamp
    removes what an `expm1` with an error in its last digit, as on some devices, would leave below zero.
    """
    log_square = 2 * log_ratio
    return (torch.expm1(log_square) - log_square).clamp(min=0)


@float32_or_better
def kl_standard_normal(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½(μ² + σ² − 1 − log σ²), elementwise (arXiv:1312.6114, appendix B).

    Args:
        mean: μ, `(N, D)`.
        log_scale: log σ, `(N, D)`.

    Returns:
        Nats per dimension, `(N, D)`, never negative.
    """
    return 0.5 * (mean.square() + _twice_kl_of_scales(log_scale))


@float32_or_better
def kl_normal(mean_q: Tensor, log_scale_q: Tensor, mean_p: Tensor, log_scale_p: Tensor) -> Tensor:
    """KL(q ‖ p) of two Gaussians, elementwise: ½((μ_q − μ_p)²/σ_p² + r² − 1 − log r²) with r = σ_q/σ_p.

    Args:
        mean_q: μ_q, `(N, D)`.
        log_scale_q: log σ_q, `(N, D)`.
        mean_p: μ_p, `(N, D)`, or of a shape that broadcasts.
        log_scale_p: log σ_p, likewise.

    Returns:
        Nats per dimension, `(N, D)`, never negative.
    """
    standardised = (mean_q - mean_p) * torch.exp(-log_scale_p)
    return 0.5 * (standardised.square() + _twice_kl_of_scales(log_scale_q - log_scale_p))


@float32_or_better
def normal_log_prob(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log N(x; μ, σ²) = −½((x − μ)/σ)² − log σ − ½ log 2π, elementwise, in nats."""
    standardised = (x - mean) * torch.exp(-log_scale)
    return -0.5 * standardised.square() - log_scale - 0.5 * math.log(2 * math.pi)


@float32_or_better
def reparametrise(mean: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ ε with `noise` ε ~ N(0, 1): a sample of N(μ, σ²) that carries the gradient to μ and σ.

    The sample is float32 also where the networks' parameters are not, so that σ below the resolution of a
    bfloat16 mean is not lost in log q(z | x).
    """
    return torch.addcmul(mean, torch.exp(log_scale), noise)


@float32_or_better
def bound_log_scale(raw: Tensor, limit: float = 8.0) -> Tensor:
    """Smooth bound on a network's raw log σ: the identity over the working range, bounded everywhere.

    With a = `limit` and b = a/2, an output |x| ≤ a passes unchanged (for the default, σ from 3.4e-4 to 2981);
    beyond,

        a + (|x| − a) / (1 + (|x| − a)/b) = a + b − b²/(b + |x| − a)

    with the sign of x. It is continuously differentiable, |output| < 1.5·`limit`, and its slope (b/(b + |x| −
    a))² stays positive in float32 (1.6e-7 at |x| = 1e4), where a clamp would have no gradient.
    """
    softness = limit / 2
    excess = torch.relu(raw.abs() - limit)
    beyond = raw.sign() * (limit + softness - softness**2 / (softness + excess))
    return torch.where(raw.abs() <= limit, raw, beyond)
