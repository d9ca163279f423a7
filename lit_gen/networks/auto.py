"""Networks by the data's shape: DCGAN for images of a size it accepts, else MLPs."""

from lit_gen.networks import dcgan
from lit_gen.networks.base import Decoder, Discriminator, Encoder, Generator
from lit_gen.networks.dcgan import DCGANDecoder, DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from lit_gen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator


def auto_generator(image_shape: tuple[int, ...], latent_dim: int) -> Generator:
    """`DCGANGenerator`, or `MLPGenerator` for points and odd sizes."""
    return (DCGANGenerator if dcgan.accepts(image_shape) else MLPGenerator)(image_shape, latent_dim)


def auto_discriminator(image_shape: tuple[int, ...]) -> Discriminator:
    """`DCGANDiscriminator`, or `MLPDiscriminator`; without norm, so that it is right under every penalty."""
    return (DCGANDiscriminator if dcgan.accepts(image_shape) else MLPDiscriminator)(image_shape, norm="none")


def auto_encoder(image_shape: tuple[int, ...], latent_dim: int) -> Encoder:
    """`DCGANEncoder`, or `MLPEncoder`; without norm, so that a bound is the same in training and evaluation."""
    return (DCGANEncoder if dcgan.accepts(image_shape) else MLPEncoder)(image_shape, latent_dim, norm="none")


def auto_decoder(output_shape: tuple[int, ...], latent_dim: int) -> Decoder:
    """`DCGANDecoder`, or `MLPDecoder`; without norm, as the encoder."""
    return (DCGANDecoder if dcgan.accepts(output_shape) else MLPDecoder)(output_shape, latent_dim, norm="none")
