"""Small models of every kind that the page shows."""

from functools import partial

from lit_gen.distributions import GaussianMixture
from lit_gen.models import CUT, GAN, VAE, AutoencoderKL, CycleGAN, HierarchicalVAE, Pix2Pix
from lit_gen.networks import (
    ConvDecoder,
    ConvEncoder,
    Ladder,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    PatchGAN,
    ResNetTranslator,
)

PLAYERS = {"generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8)}
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}
SHAPE = (1, 4, 4)
MODELS = {
    "GAN": lambda: GAN(SHAPE, 6, **PLAYERS),
    "conditional GAN": lambda: GAN(SHAPE, 6, **PLAYERS, num_classes=3, conditional=True),
    "VAE": lambda: VAE(SHAPE, 5, **CODERS, temperature=0.7),
    "conditional VAE": lambda: VAE(SHAPE, 5, **CODERS, num_classes=3, conditional=True),
    "VAE with a mixture": lambda: VAE(SHAPE, 5, **CODERS, prior=partial(GaussianMixture, components=3)),
    "hierarchy": lambda: HierarchicalVAE(SHAPE, partial(Ladder, latent_dims=(4, 3), widths=(8, 8)), temperature=0.8),
}


def autoencoder():
    small = {"widths": [8, 8], "blocks": 1, "groups": 4, "attention": False}
    networks = {"encoder": partial(ConvEncoder, **small), "decoder": partial(ConvDecoder, **small)}
    return AutoencoderKL((3, 8, 8), **networks, discriminator=partial(PatchGAN, width=4, receptive_field=16))


def cyclegan():
    translator = partial(ResNetTranslator, width=4, blocks=1, norm="none")
    return CycleGAN((3, 8, 8), translator, partial(PatchGAN, width=4, receptive_field=16))


def one_way(kind):
    """A Pix2Pix or a CUT."""
    translator = partial(ResNetTranslator, width=4, blocks=1, norm="none")
    return {"Pix2Pix": Pix2Pix, "CUT": CUT}[kind]((3, 8, 8), generator=translator)
