"""Losses of the adversarial players, gradient penalties and weight constraints."""

from lit_gen.losses.adversarial import (
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Wasserstein,
)
from lit_gen.losses.constraints import Constraint, SpectralNorm, WeightClip
from lit_gen.losses.penalties import DRAGAN, R1, R1R2, R2, GradientPenalty, Penalty
from lit_gen.losses.relativistic import RelativisticAverage, RelativisticPairing

__all__ = [
    "DRAGAN",
    "R1",
    "R1R2",
    "R2",
    "AdversarialLoss",
    "Constraint",
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Penalty",
    "RelativisticAverage",
    "RelativisticPairing",
    "SpectralNorm",
    "Wasserstein",
    "WeightClip",
]
