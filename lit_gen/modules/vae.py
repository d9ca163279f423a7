"""The training of variational autoencoders."""

from lit_gen import models
from lit_gen.modules.variational import VariationalModule


class VAE(VariationalModule, models.VAE):
    """The training of :class:`lit_gen.models.VAE`, whose arguments it takes.

    Validation always logs the bound itself, whatever the training's weights.
    """


class IWAE(VAE, models.IWAE):
    """The training of :class:`lit_gen.models.IWAE`, whose arguments it takes."""
