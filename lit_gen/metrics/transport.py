"""Distances between two sets of points as distributions of equal weights: optimal transport, exact and approximate.

All take points ``(N, D)`` and ``(M, D)`` (images flattened, features, or ``(N,)`` on a line), work in float64 and
return a float64 scalar. The ground distance is Euclidean.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from lit_gen.precision import to_float64

MAX_POINTS = 2000  # an assignment of as many takes seconds, and grows with the cube


def wasserstein(x: Tensor, y: Tensor, p: float = 1) -> Tensor:
    """Exact W_p = (min over plans of E |x − y|^p)^(1/p) between two sets of points.

    On a line it is the distance of the quantile functions, for any N and M. In more dimensions the best plan of N
    points to N is a permutation, found by the Hungarian method; sets of unequal sizes are brought to the least common
    multiple by repetition, which leaves the distributions as they are.

    Between samples it overestimates the distance of the distributions behind them, by about N^(−1/D).

    Args:
        x: ``(N, D)`` or ``(N,)``.
        y: ``(M, D)`` or ``(M,)``.
        p: at least 1.

    Raises:
        ValueError: sets that don't fit each other, are empty or not finite; p below 1; in more than one dimension a
            least common multiple of N and M above 2,000.
    """
    x, y = _points(x, y, p)
    if x.shape[1] == 1:
        return _on_a_line(x, y, p).squeeze() ** (1 / p)
    size = math.lcm(len(x), len(y))
    if size > MAX_POINTS:
        raise ValueError(
            f"{len(x)} and {len(y)} points: exact transport is for sets whose sizes have a least common multiple of at "
            f"most {MAX_POINTS}; take subsets, or `sinkhorn` or `sliced_wasserstein`"
        )
    from scipy.optimize import linear_sum_assignment  # slow to import, and for exact transport alone

    costs = _costs(x.repeat_interleave(size // len(x), 0), y.repeat_interleave(size // len(y), 0), p)
    rows, columns = (torch.from_numpy(index) for index in linear_sum_assignment(costs.cpu().numpy()))
    return costs[rows, columns].mean() ** (1 / p)


def sliced_wasserstein(
    x: Tensor, y: Tensor, p: float = 2, projections: int = 256, seed: int = 0, over: Literal["mean", "max"] = "mean"
) -> Tensor:
    """Sliced W_p (Bonneel et al. 2015; as a loss Deshpande et al. 2018, arXiv:1803.11188): exact on random lines.

    (mean over directions θ of W_p(θ·x, θ·y)^p)^(1/p), with directions uniform on the sphere. It is at most W_p,
    and less by a factor that depends on D: a shift by μ has W_2 = |μ| and a sliced W_2 of |μ|/√D.

    Args:
        x: ``(N, D)`` or ``(N,)``.
        y: ``(M, D)`` or ``(M,)``; N and M may differ.
        p: at least 1.
        projections: number of directions, at least 1. The error falls with its square root.
        seed: of the directions: the same seed, the same directions.
        over: ``max`` takes the largest W_p among the directions drawn, a lower bound of the max-sliced distance
            (arXiv:1904.05877), which in many dimensions random directions rarely come near.

    Raises:
        ValueError: sets that don't fit each other, are empty or not finite; p or projections below 1.
    """
    x, y = _points(x, y, p)
    if projections < 1:
        raise ValueError(f"projections={projections}: at least 1 is needed")
    if over not in ("mean", "max"):
        raise ValueError(f"over={over!r}: 'mean' or 'max'")
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], projections, dtype=torch.float64, generator=generator).to(x.device)
    directions = directions / directions.norm(dim=0)
    distances = _on_a_line(x @ directions, y @ directions, p)
    return (distances.mean() if over == "mean" else distances.max()) ** (1 / p)


def sinkhorn(
    x: Tensor,
    y: Tensor,
    p: float = 2,
    epsilon: float = 0.05,
    debiased: bool = True,
    tolerance: float = 1e-3,
    max_iterations: int = 10_000,
) -> Tensor:
    """Entropic transport, an approximation of W_p^p (not of W_p) in N·M memory, for sets of thousands of points.

    OT_ε = min over plans π of E_π |x − y|^p + ε KL(π ‖ x ⊗ y), by Sinkhorn's iteration in the log domain with ε halved
    from the largest cost down (Cuturi 2013, arXiv:1306.0895). It is biased: W_p^p ≤ OT_ε ≤ W_p^p + ε log N for equal
    sizes, and OT_ε(x, x) is not 0.

    Debiased it is the Sinkhorn divergence OT_ε(x, y) − ½ OT_ε(x, x) − ½ OT_ε(y, y) (Feydy et al. 2019,
    arXiv:1810.08278): 0 for x = y, exact for a shift if p = 2, never negative if p is 1 or 2, near W_p^p for small ε
    and half an energy distance for large.

    Args:
        x: ``(N, D)`` or ``(N,)``.
        y: ``(M, D)`` or ``(M,)``.
        p: at least 1.
        epsilon: ε, in units of the cost |x − y|^p; compare it with the result.
        debiased: the divergence, or OT_ε as it is.
        tolerance: the iteration ends where the plan puts at most this share of the mass on wrong points; the value
            is then off by much less.
        max_iterations: at the final ε.

    Raises:
        ValueError: sets that don't fit each other, are empty or not finite; p below 1 or ε not positive.
        RuntimeError: no convergence: ε is too small for so few iterations.
    """
    x, y = _points(x, y, p)
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon}: a positive, finite number is needed")
    value = _entropic(_costs(x, y, p), epsilon, tolerance, max_iterations)
    if debiased:
        for points in (x, y):
            value = value - 0.5 * _entropic(_costs(points, points, p), epsilon, tolerance, max_iterations, same=True)
    return value


def _entropic(costs: Tensor, epsilon: float, tolerance: float, max_iterations: int, same: bool = False) -> Tensor:
    """OT_ε as its dual's value E f + E g. With the ``same`` set twice f = g, which averaged steps find soon."""
    f, g = costs.new_zeros(len(costs)), costs.new_zeros(costs.shape[1])
    level = max(costs.max().item(), epsilon)
    iterations = 0
    while iterations < max_iterations:
        better = _soft_minimum(costs - g, level)
        misplaced = ((f - better) / level).expm1().abs().mean()
        if level > epsilon:
            level = max(level / 2, epsilon)
        elif misplaced <= tolerance:
            return better.mean() + g.mean()
        else:
            iterations += 1
        f = (f + better) / 2 if same else better
        g = f if same else _soft_minimum(costs.T - f, level)
    raise RuntimeError(
        f"sinkhorn: no convergence in max_iterations={max_iterations}; epsilon={epsilon} is small beside the costs, "
        f"which go up to {costs.max().item():.3g}"
    )


def _soft_minimum(costs: Tensor, epsilon: float) -> Tensor:
    """−ε log E_j exp(−c_ij / ε)."""
    return -epsilon * (torch.logsumexp(-costs / epsilon, 1) - math.log(costs.shape[1]))


def _on_a_line(x: Tensor, y: Tensor, p: float) -> Tensor:
    """W_p^p ``(L,)`` of the columns of ``(N, L)`` and ``(M, L)``: ∫ |F⁻¹(u) − G⁻¹(u)|^p du."""
    x, y = x.sort(0).values, y.sort(0).values
    n, m = len(x), len(y)
    if n == m:
        return (x - y).abs().pow(p).mean(0)
    # Both quantile functions are constant between the multiples of 1/n and 1/m; in units of 1/nm these are integers.
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    weights = ((ends - starts).double() / (n * m)).to(x.device)
    gaps = x[(starts // m).to(x.device)] - y[(starts // n).to(x.device)]
    return weights @ gaps.abs().pow(p)


def _costs(x: Tensor, y: Tensor, p: float) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").pow(p)  # the product loses digits


def _points(x: Tensor, y: Tensor, p: float) -> tuple[Tensor, Tensor]:
    if not 1 <= p < math.inf:
        raise ValueError(f"p={p}: a finite number of at least 1 is needed")
    x, y = (points.unsqueeze(1) if points.ndim == 1 else points for points in (x, y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        raise ValueError(
            f"x {tuple(x.shape)}, y {tuple(y.shape)}: sets of points (N, D) and (M, D) are needed, none of them empty"
        )
    for name, points in (("x", x), ("y", y)):
        if not points.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")
    return to_float64(x), to_float64(y)
