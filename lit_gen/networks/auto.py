"""Networks by the data's shape: DCGAN for images of a size it accepts, else MLPs.

With classes they take labels in the way that is each network's default.
"""

from lit_gen.networks import dcgan
from lit_gen.networks.base import Decoder, Discriminator, Encoder, Generator
from lit_gen.networks.dcgan import DCGANDecoder, DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from lit_gen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator


def auto_generator(image_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0) -> Generator:
    """`DCGANGenerator`, or `MLPGenerator` for points and odd sizes."""
    return (DCGANGenerator if dcgan.accepts(image_shape) else MLPGenerator)(image_shape, latent_dim, num_classes)


def auto_discriminator(image_shape: tuple[int, ...], num_classes: int = 0) -> Discriminator:
    """`DCGANDiscriminator`, or `MLPDiscriminator`; without norm, so that it is right under every penalty."""
    return (DCGANDiscriminator if dcgan.accepts(image_shape) else MLPDiscriminator)(
        image_shape, num_classes, norm="none"
    )


def auto_encoder(image_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0) -> Encoder:
    """`DCGANEncoder`, or `MLPEncoder`; without norm, so that a bound is the same in training and evaluation."""
    return (DCGANEncoder if dcgan.accepts(image_shape) else MLPEncoder)(
        image_shape, latent_dim, num_classes, norm="none"
    )


def auto_decoder(output_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0) -> Decoder:
    """`DCGANDecoder`, or `MLPDecoder`; without norm, as the encoder."""
    return (DCGANDecoder if dcgan.accepts(output_shape) else MLPDecoder)(
        output_shape, latent_dim, num_classes, norm="none"
    )
