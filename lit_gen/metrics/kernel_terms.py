"""The kernel's mean over many pairs, each power of their products in the precision that it needs."""

import torch
from torch import Tensor

from lit_gen.metrics.screening import BLOCK, Screening, low_precision, parts, worth_it

CUBES = 1e-6  # the most that rounding of the cubes may change the kernel's mean, of its value at the centre
COLUMNS = 512  # of one block of a scatter
ROWS = 3  # times the dimensions: of fewer a scatter takes longer than it saves


def usual_scatters(x: Tensor, y: Tensor, known: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor, Tensor] | None:
    """Scatters of x and of y, those known as they are; None where `mean_kernel` would save no time."""
    if low_precision(x.shape[1]) != torch.bfloat16 or not worth_it(x, y):
        return None
    if any(each is None and len(rows) < ROWS * x.shape[1] for rows, each in zip((x, y), known, strict=True)):
        return None
    of_x = scatter(x) if known[0] is None else known[0]
    return of_x, of_x if y is x else scatter(y) if known[1] is None else known[1]


class Terms:
    """Rows u about a centre c: what the sums of first and second powers of their products need, in float64.

    Args:
        rows: ``(N, D)``.
        centre: ``(D,)``.
        scatter: `scatter` of the rows, about their own mean.

    Attributes:
        own: c·u / D ``(N,)``.
        sum: Σ u ``(D,)``.
        weighted: Σ u (c·u) / D ``(D,)``.
        squares: |u|² / D ``(N,)``.
        scatter: Σ u uᵀ ``(D, D)``.
    """

    def __init__(self, rows: Tensor, centre: Tensor, scatter: Tensor) -> None:
        self.own, self.squares = (torch.empty(len(rows), dtype=torch.float64) for _ in range(2))
        self.sum, self.weighted = torch.zeros_like(centre), torch.zeros_like(centre)
        for part in parts(len(rows)):
            centred = rows[part].double() - centre
            self.own[part] = centred @ centre / len(centre)
            self.squares[part] = centred.square().sum(1) / len(centre)
            self.sum += centred.sum(0)
            self.weighted += self.own[part] @ centred
        self.scatter = scatter.addr(self.sum, self.sum, alpha=1 / len(rows))


def mean_kernel(x: Tensor, y: Tensor, scatter_x: Tensor, scatter_y: Tensor) -> float | None:
    """Mean of (xᵢ·yⱼ / D + 1)³ over all pairs, of different rows if y is x.

    With c the mean of y, u = x − c, v = y − c and κ = 1 + c·c / D, the kernel is (κ + t)³ of t = (c·u + c·v + u·v) / D:

        κ³ + 3 κ² t + 3 κ t² + t³

    The sums of t and t² follow from sums over rows of either set. Those of t³ take all pairs; t is small beside κ where
    features are, as Inception's, not negative, and then bfloat16 is enough for its cubes: |p − u·v| ≤ δ changes their
    mean by no more than 3 δ E t² + 3 δ² E |t| + δ³.

    Args:
        x: ``(N, D)``.
        y: ``(M, D)``, or x itself.
        scatter_x: `scatter` of x.
        scatter_y: of y.

    Returns:
        None where that is above 1e-6 |κ|³.
    """
    screening = Screening(x, y)
    if not screening.trusted:
        return None
    centre, dim = screening.centre, len(screening.centre)
    kappa = 1 + float(centre @ centre) / dim
    a = Terms(x, centre, scatter_x)
    b = a if screening.within else Terms(y, centre, scatter_y)
    first = len(y) * a.own.sum() + len(x) * b.own.sum() + a.sum @ b.sum / dim
    square = len(y) * a.own.square().sum() + len(x) * b.own.square().sum() + 2 * a.own.sum() * b.own.sum()
    square += 2 * (a.weighted @ b.sum + a.sum @ b.weighted) / dim + (a.scatter * b.scatter).sum() / dim**2
    pairs = len(x) * len(y)
    if screening.within:
        diagonal = 2 * a.own + a.squares
        first, square, pairs = first - diagonal.sum(), square - diagonal.square().sum(), pairs - len(x)
    most = [float((2 * side.half.max()).sqrt()) for side in (screening.x, screening.y)]
    delta = (screening.eta + screening.rho) * most[0] * most[1] * screening.unit / 2 / dim
    spread = float(square.clamp(min=0) / pairs) ** 0.5
    if not 3 * delta * spread**2 + 3 * delta**2 * spread + delta**3 <= CUBES * abs(kappa) ** 3:
        return None
    cubes = _cubes(screening, a.own.float(), b.own.float())
    return kappa**3 + float(3 * kappa**2 * first + 3 * kappa * square + cubes) / pairs


def _cubes(screening: Screening, own_x: Tensor, own_y: Tensor) -> Tensor:
    """Σ t³ over all pairs, each looked at once."""
    total, scale = torch.zeros((), dtype=torch.float64), screening.unit / 2 / len(screening.centre)
    for i, a in enumerate(parts(len(own_x))):
        for j, b in enumerate(parts(len(own_y))):
            if screening.within and j < i:
                continue
            t = screening.products(a, b).float().mul_(scale).add_(own_x[a, None]).add_(own_y[b])
            if screening.within and i == j:
                t.fill_diagonal_(0)
            cubes = t.square().mul_(t).sum(1).double().sum()
            total += 2 * cubes if screening.within and i < j else cubes
    return total


def scatter(rows: Tensor) -> Tensor:
    """Σ u uᵀ ``(D, D)`` over rows u about their mean: products in float32, sums of blocks of them in float64."""
    dim, mean = rows.shape[1], torch.stack([part.double().sum(0) for part in rows.split(BLOCK)]).sum(0) / len(rows)
    total = torch.zeros(dim, dim, dtype=torch.float64)
    for part in rows.split(4 * BLOCK):
        centred = (part.double() - mean).to(rows.dtype)
        for start in range(0, dim, COLUMNS):
            total[start : start + COLUMNS, start:] += centred[:, start : start + COLUMNS].T @ centred[:, start:]
    return total.triu().add_(total.triu(1).T)
