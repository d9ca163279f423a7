"""Fréchet distance between two normal distributions, its limit of infinitely many samples, and class by class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_gen.metrics.moments import Moments
from lit_gen.precision import to_float64

WIDE = 512  # features from which the eigenvalues of L₁ᵀ Σ₂ L₁ replace the singular values of L₁ᵀ L₂
STRIPES = 4


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of N(μ₁, Σ₁) and N(μ₂, Σ₂), a float64 scalar, never negative.

    |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁^½ Σ₂ Σ₁^½)^½

    (Dowson & Landau 1982; as a score of samples Heusel et al., arXiv:1706.08500.)

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
    mean1, cov1, mean2, cov2 = (to_float64(value) for value in arguments.values())
    return frechet_of_moments(Moments(mean1, cov1), Moments(mean2, cov2))


def frechet_of_moments(samples: Moments, real: Moments) -> Tensor:
    """`frechet_distance` of moments, which keep their factors: those of the real ones are computed once.

    With factors Σ = L Lᵀ the last trace is the sum of the singular values of L₁ᵀ L₂: no square root of a non-symmetric
    product is taken, and rank-deficient covariances (fewer samples than features) keep their digits. Of two wide
    covariances of full rank only one factor is made: the singular values are the square roots of the eigenvalues of
    L₁ᵀ Σ₂ L₁, where only values 1e-8 times the largest lose their digits.
    """
    distance = (samples.mean - real.mean).square().sum() + samples.variance + real.variance
    return (distance - 2 * _common(samples, real)).clamp(min=0)


def _common(samples: Moments, real: Moments) -> Tensor:
    """tr (Σ₁^½ Σ₂ Σ₁^½)^½."""
    dim = len(real.mean)
    if dim >= WIDE and samples.count > dim and real.factor.shape[1] == dim:
        return torch.linalg.eigvalsh(_sandwich(real.factor, samples.covariance)).clamp(min=0).sqrt().sum()
    return torch.linalg.svdvals(samples.factor.T @ real.factor).sum()


def _sandwich(factor: Tensor, covariance: Tensor) -> Tensor:
    """Lᵀ Σ L, its lower triangle alone if L is lower triangular; stripe by stripe, which leaves the zeros of L out."""
    if factor.triu(1).any():
        return factor.T @ covariance @ factor
    product, step = torch.zeros_like(covariance), -(-len(factor) // STRIPES)
    for start in range(0, len(factor), step):
        stripe = slice(start, start + step)
        right = covariance[:, start:] @ factor[start:, stripe]
        for row in range(start, len(factor), step):
            product[row : row + step, stripe] = factor[row:, row : row + step].T @ right[row:]
    return product


def frechet_infinity(rows: Tensor, real: Moments, points: int = 15, seed: int = 0) -> float:
    """The Fréchet distance for infinitely many samples (Chong & Forsyth 2020, arXiv:1911.07023).

    The distance of n samples is biased by a term in 1/n. It is measured for `points` numbers of samples, evenly from a
    tenth of them to all (from D, but at most half, where D is more than a tenth), each a random subset, and the
    line through the distances over 1/n is read at 1/n = 0. An extrapolation: it may be slightly negative.

    Args:
        rows: samples' features ``(n, D)``, n ≥ 20.
        real: the data's moments.
        points: at least 2.
        seed: of the subsets.
    """
    count = len(rows)
    if count < 20 or points < 2:
        raise ValueError(f"fd_infinity of {count} samples at {points} points: at least 20 samples and 2 points")
    generator = torch.Generator().manual_seed(seed)
    smallest = min(max(count // 10, rows.shape[1]), count // 2)
    sizes = torch.linspace(smallest, count, points, dtype=torch.float64).round().long().tolist()
    subsets = (torch.randperm(count, generator=generator)[:size] for size in sizes)
    distances = [frechet_of_moments(Moments.of_rows(rows[subset.to(rows.device)]), real).cpu() for subset in subsets]
    inverse = 1 / torch.tensor(sizes, dtype=torch.float64)
    line = torch.stack([torch.ones_like(inverse), inverse], 1)
    return float(torch.linalg.lstsq(line, torch.stack(distances)[:, None]).solution[0])


def class_frechet(
    rows: Tensor, labels: Tensor, real_rows: Tensor, real_labels: Tensor, class_names: Sequence[str] = ()
) -> dict[int, float]:
    """The Fréchet distance within each class of the data, over at least two rows on either side.

    Args:
        rows: samples' features ``(N, D)``.
        labels: their classes ``(N,)``.
        real_rows: the data's features ``(M, D)``.
        real_labels: their classes ``(M,)``.
        class_names: what they are called in an error.

    Raises:
        ValueError: fewer than two samples or data of a class.
    """
    distances = {}
    for label in real_labels.unique().tolist():
        sides = rows[labels == label], real_rows[real_labels == label]
        if min(map(len, sides)) < 2:
            name = class_names[label] if class_names else label
            raise ValueError(
                f"class {name} has {len(sides[0])} samples and {len(sides[1])} data: at least 2 are needed"
            )
        distances[label] = float(frechet_of_moments(*map(Moments.of_rows, sides)))
    return distances
