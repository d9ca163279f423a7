"""Training procedures: how networks are trained."""

from lit_gen.modules.base import GenerativeModule
from lit_gen.modules.gan import GAN, WGAN, WGANGP
from lit_gen.modules.player import Player
from lit_gen.modules.vae import VAE

__all__ = ["GAN", "VAE", "WGAN", "WGANGP", "GenerativeModule", "Player"]
