"""Training procedures: how networks are trained."""

from lit_gen.modules.base import GenerativeModule
from lit_gen.modules.cyclegan import CycleGAN
from lit_gen.modules.gan import GAN
from lit_gen.modules.hierarchical_vae import HierarchicalVAE
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.modules.vae import IWAE, VAE
from lit_gen.modules.variational import VariationalModule
from lit_gen.modules.wgan import WGAN, WGANGP
from lit_gen.training.player import Player

__all__ = [
    "GAN",
    "IWAE",
    "VAE",
    "WGAN",
    "WGANGP",
    "CycleGAN",
    "GenerativeModule",
    "HierarchicalVAE",
    "LatentVariableModel",
    "Player",
    "VariationalModule",
]
