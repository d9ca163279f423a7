"""The training of Wasserstein GANs: the GAN's, with their papers' options."""

from lit_gen import models
from lit_gen.modules.gan import GAN


class WGAN(GAN, models.WGAN):
    """The training of :class:`lit_gen.models.WGAN`, whose arguments it takes."""


class WGANGP(GAN, models.WGANGP):
    """The training of :class:`lit_gen.models.WGANGP`, whose arguments it takes."""
