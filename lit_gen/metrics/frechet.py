"""Fréchet distance between two normal distributions."""

import torch
from torch import Tensor


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of N(μ₁, Σ₁) and N(μ₂, Σ₂), a float64 scalar, never negative.

    |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁^½ Σ₂ Σ₁^½)^½

    (Dowson & Landau 1982; as a score of samples Heusel et al., arXiv:1706.08500.)

    With symmetric factors Σ = L Lᵀ the last trace is the sum of the singular values of L₁ᵀ L₂: no square root of a
    non-symmetric product is taken, and rank-deficient covariances (fewer samples than features) keep their digits.

    Args:
        mean1: ``(D,)``.
        cov1: ``(D, D)``, symmetric and positive semi-definite.
        mean2: ``(D,)``.
        cov2: ``(D, D)``.

    Raises:
        ValueError: shapes that do not fit each other, or values that are not finite.
    """
    arguments = {"mean1": mean1, "cov1": cov1, "mean2": mean2, "cov2": cov2}
    dim = mean1.numel()
    for name, value in arguments.items():
        shape = (dim,) if name.startswith("mean") else (dim, dim)
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} of shape {tuple(value.shape)}: expected {shape}, as mean1 has {dim} entries")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")
    mean1, cov1, mean2, cov2 = (value.double() for value in arguments.values())
    common = torch.linalg.svdvals(_factor(cov1).T @ _factor(cov2)).sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * common
    return distance.clamp(min=0)


def _factor(covariance: Tensor) -> Tensor:
    """L with L Lᵀ = Σ. Eigenvalues within rounding of 0 count as 0: their square roots would not be small."""
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
    return vectors * values.where(values > rounding, 0.0).sqrt()
