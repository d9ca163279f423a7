"""Training procedures: how networks are trained."""

from lit_gen.modules.adversarial import GANDraw
from lit_gen.modules.autoencoder import VQGAN, VQVAE, Autoencoder, AutoencoderDraw, AutoencoderKL
from lit_gen.modules.autoencoding import AutoencodingModule
from lit_gen.modules.base import GenerativeModule
from lit_gen.modules.cyclegan import CycleGAN
from lit_gen.modules.gan import GAN
from lit_gen.modules.hierarchical_vae import HierarchicalVAE
from lit_gen.modules.judge import Judge
from lit_gen.modules.perceptual import ClassifierFeatures, DiscriminatorFeatures, PerceptualLoss
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.modules.vae import IWAE, VAE
from lit_gen.modules.variational import VariationalModule
from lit_gen.modules.wgan import WGAN, WGANGP
from lit_gen.training.draw import Draw
from lit_gen.training.memory import Memory
from lit_gen.training.player import Adversaries, AutoencoderPlayers, Player
from lit_gen.training.update import Outcome
from lit_gen.training.view import View

__all__ = [
    "GAN",
    "IWAE",
    "VAE",
    "VQGAN",
    "VQVAE",
    "WGAN",
    "WGANGP",
    "Adversaries",
    "Autoencoder",
    "AutoencoderDraw",
    "AutoencoderKL",
    "AutoencoderPlayers",
    "AutoencodingModule",
    "ClassifierFeatures",
    "CycleGAN",
    "DiscriminatorFeatures",
    "Draw",
    "GANDraw",
    "GenerativeModule",
    "HierarchicalVAE",
    "Judge",
    "LatentVariableModel",
    "Memory",
    "Outcome",
    "PerceptualLoss",
    "Player",
    "VariationalModule",
    "View",
]
