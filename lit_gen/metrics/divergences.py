"""Divergences of densities known on a grid, in nats."""

import math

import torch
from torch import Tensor

from lit_gen.precision import to_float64


def kl_divergence(p: Tensor, q: Tensor, cell: float = 1.0) -> Tensor:
    """KL(p ‖ q) = ∫ p log(p / q), a float64 scalar; infinite where q is 0 and p is not.

    Args:
        p: density at the grid's points, of any shape, not negative.
        q: density at the same points.
        cell: length, area or volume of a grid cell; 1 for probabilities.

    Raises:
        ValueError: other shapes, negative or infinite values, or a mass on the grid more than 1 % off 1: the grid is
            then too small or too coarse.
    """
    p, q = _masses(p, q, cell)
    return _relative_entropy(p, q)


def js_divergence(p: Tensor, q: Tensor, cell: float = 1.0) -> Tensor:
    """Jensen-Shannon divergence ½ KL(p ‖ m) + ½ KL(q ‖ m), m = (p + q)/2: from 0 to log 2, for disjoint supports.

    Arguments and errors are those of `kl_divergence`.
    """
    p, q = _masses(p, q, cell)
    # KL to p + q and not to its half, which is 0 for the smallest densities; for p = q rounding may leave −1e-16.
    return ((_relative_entropy(p, p + q) + _relative_entropy(q, p + q)) / 2 + math.log(2)).clamp(min=0)


def _relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum()


def _masses(p: Tensor, q: Tensor, cell: float) -> tuple[Tensor, Tensor]:
    if p.shape != q.shape:
        raise ValueError(f"p {tuple(p.shape)}, q {tuple(q.shape)}: densities on the same grid are needed")
    masses = []
    for name, density in (("p", p), ("q", q)):
        mass = to_float64(density) * cell
        if not (mass.isfinite() & (mass >= 0)).all():
            raise ValueError(f"{name} holds values that are negative or not finite")
        if abs(mass.sum() - 1) > 0.01:
            raise ValueError(
                f"{name} has a mass of {mass.sum():.4g} on this grid, not 1: it is too small or too coarse"
            )
        masses.append(mass / mass.sum())
    return masses[0], masses[1]
