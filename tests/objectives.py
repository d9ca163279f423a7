"""Every adversarial loss and every penalty, for tests of their product."""

from lit_gen.losses import (
    DRAGAN,
    R1,
    R1R2,
    R2,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)

LOSSES = [NonSaturating(), Minimax(), LeastSquares(), Hinge(), Wasserstein()]
LOSSES += [RelativisticPairing(), RelativisticAverage()]
PENALTIES = [None, GradientPenalty(), R1(), R2(), R1R2(), DRAGAN()]
