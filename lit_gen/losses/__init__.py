"""Losses of the adversarial players, gradient penalties and weight constraints; bounds of variational models."""

from lit_gen.losses.adversarial import (
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Wasserstein,
)
from lit_gen.losses.constraints import Constraint, SpectralNorm, WeightClip
from lit_gen.losses.finite_difference import FiniteDifference
from lit_gen.losses.penalties import DRAGAN, R1, R1R2, R2, GradientPenalty, Penalty
from lit_gen.losses.reconstruction import L1, L2, ReconstructionLoss
from lit_gen.losses.relativistic import RelativisticAverage, RelativisticPairing
from lit_gen.losses.terms import LayerTerms, Terms
from lit_gen.losses.variational import (
    ELBO,
    IWAE,
    CyclicalWarmUp,
    LinearWarmUp,
    VariationalObjective,
    WarmUp,
    log_mean_exp,
)

__all__ = [
    "DRAGAN",
    "ELBO",
    "IWAE",
    "L1",
    "L2",
    "R1",
    "R1R2",
    "R2",
    "AdversarialLoss",
    "Constraint",
    "CyclicalWarmUp",
    "FiniteDifference",
    "GradientPenalty",
    "Hinge",
    "LayerTerms",
    "LeastSquares",
    "LinearWarmUp",
    "Minimax",
    "NonSaturating",
    "Penalty",
    "ReconstructionLoss",
    "RelativisticAverage",
    "RelativisticPairing",
    "SpectralNorm",
    "Terms",
    "VariationalObjective",
    "WarmUp",
    "Wasserstein",
    "WeightClip",
    "log_mean_exp",
]
