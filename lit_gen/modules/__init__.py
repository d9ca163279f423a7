"""Training procedures: how networks are trained."""

from lit_gen.modules.base import GenerativeModule
from lit_gen.modules.cyclegan import CycleGAN, load_translator
from lit_gen.modules.gan import GAN
from lit_gen.modules.player import Player
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.modules.vae import VAE
from lit_gen.modules.wgan import WGAN, WGANGP

__all__ = [
    "GAN",
    "VAE",
    "WGAN",
    "WGANGP",
    "CycleGAN",
    "GenerativeModule",
    "LatentVariableModel",
    "Player",
    "load_translator",
]
