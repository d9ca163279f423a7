"""Models without a Trainer: networks, distributions, and drawing from them. Imports PyTorch alone.

Each class of :mod:`lit_gen.modules` that trains a model inherits from the one of its name here.
"""

from lit_gen.models.adversarial import AdversarialModel
from lit_gen.models.autoencoder import VQGAN, VQVAE, Autoencoder, AutoencoderKL
from lit_gen.models.autoencoding import AutoencodingModel
from lit_gen.models.base import GenerativeModel
from lit_gen.models.code_prior import CodePrior
from lit_gen.models.cut import CUT
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.models.gan import GAN
from lit_gen.models.hierarchical_vae import HierarchicalVAE
from lit_gen.models.judge import Judge
from lit_gen.models.pix2pix import Pix2Pix
from lit_gen.models.sampling import LatentVariableModel
from lit_gen.models.vae import IWAE, VAE
from lit_gen.models.variational import VariationalModel
from lit_gen.models.wgan import WGAN, WGANGP

__all__ = [
    "CUT",
    "GAN",
    "IWAE",
    "VAE",
    "VQGAN",
    "VQVAE",
    "WGAN",
    "WGANGP",
    "AdversarialModel",
    "Autoencoder",
    "AutoencoderKL",
    "AutoencodingModel",
    "CodePrior",
    "CycleGAN",
    "GenerativeModel",
    "HierarchicalVAE",
    "Judge",
    "LatentVariableModel",
    "Pix2Pix",
    "VariationalModel",
]
