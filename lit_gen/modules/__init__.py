"""Training procedures: how networks are trained."""

from lit_gen.losses.lpips import LPIPS
from lit_gen.losses.perceptual import DiscriminatorFeatures, PerceptualLoss
from lit_gen.models.judge import Judge
from lit_gen.models.perceptual import ClassifierFeatures
from lit_gen.modules.adversarial import GANDraw
from lit_gen.modules.autoencoder import VQGAN, VQVAE, Autoencoder, AutoencoderDraw, AutoencoderKL
from lit_gen.modules.autoencoding import AutoencodingModule
from lit_gen.modules.base import GenerativeModule
from lit_gen.modules.code_prior import CodePrior
from lit_gen.modules.cut import CUT
from lit_gen.modules.cyclegan import CycleGAN
from lit_gen.modules.gan import GAN
from lit_gen.modules.hierarchical_vae import HierarchicalVAE
from lit_gen.modules.pix2pix import Pix2Pix
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.modules.vae import IWAE, VAE
from lit_gen.modules.variational import VariationalModule
from lit_gen.modules.wgan import WGAN, WGANGP
from lit_gen.training.augmentation import ADA, Augmentation, DiffAugment
from lit_gen.training.draw import Draw
from lit_gen.training.memory import Memory
from lit_gen.training.player import Adversaries, AutoencoderPlayers, Player
from lit_gen.training.regularizers import Consistency, LeCam, Regularizer
from lit_gen.training.update import Outcome
from lit_gen.training.view import View

__all__ = [
    "ADA",
    "CUT",
    "GAN",
    "IWAE",
    "LPIPS",
    "VAE",
    "VQGAN",
    "VQVAE",
    "WGAN",
    "WGANGP",
    "Adversaries",
    "Augmentation",
    "Autoencoder",
    "AutoencoderDraw",
    "AutoencoderKL",
    "AutoencoderPlayers",
    "AutoencodingModule",
    "ClassifierFeatures",
    "CodePrior",
    "Consistency",
    "CycleGAN",
    "DiffAugment",
    "DiscriminatorFeatures",
    "Draw",
    "GANDraw",
    "GenerativeModule",
    "HierarchicalVAE",
    "Judge",
    "LatentVariableModel",
    "LeCam",
    "Memory",
    "Outcome",
    "PerceptualLoss",
    "Pix2Pix",
    "Player",
    "Regularizer",
    "VariationalModule",
    "View",
]
