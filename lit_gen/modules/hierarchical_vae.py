"""The training of variational autoencoders with several stochastic layers."""

from lit_gen import models
from lit_gen.modules.variational import VariationalModule


class HierarchicalVAE(VariationalModule, models.HierarchicalVAE):
    """The training of :class:`lit_gen.models.HierarchicalVAE`, whose arguments it takes."""
