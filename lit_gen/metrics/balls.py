"""Which rows lie within balls about the rows of another set, in float64 or by screening."""

from typing import NamedTuple

import torch
from torch import Tensor

from lit_gen.metrics.screening import Found, Screening, worth_it
from lit_gen.precision import full_float32, to_float64

BLOCK = 1024  # rows by rows of one block of distances, which bounds the memory


class Held(NamedTuple):
    """Counts for each of K radii: of x ``(N, K)``, of y ``(M, K)``.

    Attributes:
        x: balls about rows of y that hold each row of x.
        y: balls about rows of x that hold each row of y.
        used: rows of x in each ball about a row of y.
    """

    x: Tensor
    y: Tensor
    used: Tensor


@full_float32()
def held(x: Tensor, y: Tensor, radii_x: Tensor, radii_y: Tensor) -> Held:
    """Rows within balls about the rows of the other set, of all radii from one pass.

    Balls are closed, with a slack of the rounding error of distances, so that a row copied exactly is always found.

    Args:
        x: ``(N, D)``.
        y: ``(M, D)``.
        radii_x: ``(N, K)``, ascending in each row.
        radii_y: ``(M, K)``, likewise.
    """
    if worth_it(x, y):
        screening = Screening(x, y)
        if screening.trusted:
            largest = max(float(side.half.max()) for side in (screening.x, screening.y)) * screening.unit
            return _screened(screening, *_reach(radii_x, radii_y, largest))
    mean = to_float64(y).mean(0)
    x, y = to_float64(x) - mean, to_float64(y) - mean
    largest = max(float(rows.square().sum(1).max()) for rows in (x, y))
    reach_x, reach_y = _reach(radii_x, radii_y, largest)
    found = Held(*(torch.zeros_like(reach, dtype=torch.int64) for reach in (reach_x, reach_y, reach_y)))
    for start in range(0, len(x), BLOCK):
        for offset in range(0, len(y), BLOCK):
            a, b = slice(start, start + BLOCK), slice(offset, offset + BLOCK)
            distances = squared_distances(x[a], y[b])
            for k in range(radii_x.shape[1]):
                hits = distances <= reach_y[b, k]
                found.x[a, k] += hits.sum(1)
                found.used[b, k] += hits.sum(0)
                found.y[b, k] += (distances <= reach_x[a, k, None]).sum(0)
    return found


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x|² − 2 x·y + |y|² of all pairs ``(N, M)``."""
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    return norms.addmm_(x, y.T, alpha=-2).clamp_(min=0)


def _reach(radii_x: Tensor, radii_y: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    slack = 64 * torch.finfo(torch.float64).eps * largest
    return to_float64(radii_x).square() + slack, to_float64(radii_y).square() + slack


def _screened(screening: Screening, reach_x: Tensor, reach_y: Tensor) -> Held:
    """By the bounds of distances, where all radii lie outside of them, else by distances in float64."""
    (n, k), m = reach_x.shape, len(reach_y)
    # How many rows have a given number of radii below their distance.
    levels = Held(*(torch.zeros(size * (k + 1), dtype=torch.int64) for size in (n, m, m)))
    for pairs in screening.near(reach_x[:, -1], reach_y[:, -1], {}):
        by_x, by_y = _levels(screening, pairs, reach_x, reach_y)
        for counts, rows, level in zip(levels, (pairs.x, pairs.y, pairs.y), (by_y, by_x, by_y), strict=True):
            counts.index_add_(0, rows * (k + 1) + level, torch.ones_like(rows))
    return Held(*(counts.view(-1, k + 1)[:, :k].cumsum(1) for counts in levels))


def _levels(screening: Screening, pairs: Found, reach_x: Tensor, reach_y: Tensor) -> tuple[Tensor, Tensor]:
    """How many radii of each pair's row of x, and of y, are below its distance."""
    of_x, of_y = reach_x[pairs.x], reach_y[pairs.y]
    by_x, by_y = _below(of_x, pairs.lower), _below(of_y, pairs.lower)
    undecided = ((by_x != _below(of_x, pairs.upper)) | (by_y != _below(of_y, pairs.upper))).nonzero()[:, 0]
    squared = _squared(screening, pairs.where(undecided))
    by_x[undecided], by_y[undecided] = _below(of_x[undecided], squared), _below(of_y[undecided], squared)
    return by_x, by_y


def _below(reach: Tensor, squared: Tensor) -> Tensor:
    return (reach < squared[:, None]).sum(1)


def _squared(screening: Screening, pairs: Found) -> Tensor:
    """Squared distances of the pairs of one block: of many by products in float64, of few by their differences."""
    if len(pairs.x) == 0 or 64 * len(pairs.x) < (int(pairs.x.max() - pairs.x.min()) + 1) * (
        int(pairs.y.max() - pairs.y.min()) + 1
    ):
        return screening.squared_differences(pairs)
    a, b = (slice(int(rows.min()), int(rows.max()) + 1) for rows in (pairs.x, pairs.y))
    x, y = (side.rows[part].double() - screening.centre for side, part in ((screening.x, a), (screening.y, b)))
    return squared_distances(x, y)[pairs.x - a.start, pairs.y - b.start]
