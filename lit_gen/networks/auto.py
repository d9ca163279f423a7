"""Networks by the data's shape: DCGAN for images, MLPs for points and, which is said, for images below 8 pixels.

With classes they take labels in the way that is each network's default.
"""

import warnings
from typing import Any

from lit_gen.networks import dcgan
from lit_gen.networks.base import Decoder, Discriminator, Encoder, Generator
from lit_gen.networks.dcgan import DCGANDecoder, DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from lit_gen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator


def auto_generator(
    image_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0, bounded: bool = True
) -> Generator:
    """`DCGANGenerator`, or `MLPGenerator` for points and tiny images."""
    return _by_shape(image_shape, DCGANGenerator, MLPGenerator)(image_shape, latent_dim, num_classes, bounded=bounded)


def auto_discriminator(image_shape: tuple[int, ...], num_classes: int = 0) -> Discriminator:
    """`DCGANDiscriminator`, or `MLPDiscriminator`: without norm by default, and so right under every penalty."""
    return _by_shape(image_shape, DCGANDiscriminator, MLPDiscriminator)(image_shape, num_classes)


def auto_encoder(image_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0) -> Encoder:
    """`DCGANEncoder`, or `MLPEncoder`: without norm by default, so a bound is the same in training and evaluation."""
    return _by_shape(image_shape, DCGANEncoder, MLPEncoder)(image_shape, latent_dim, num_classes)


def auto_decoder(output_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0) -> Decoder:
    """`DCGANDecoder`, or `MLPDecoder`, without norm by default, as the encoder."""
    return _by_shape(output_shape, DCGANDecoder, MLPDecoder)(output_shape, latent_dim, num_classes)


def _by_shape(shape: tuple[int, ...], convolutional: type, dense: type) -> Any:
    if dcgan.accepts(shape):
        return convolutional
    if len(shape) == 3:
        warnings.warn(
            f"{dense.__name__} for images of {shape[1]} x {shape[2]}: {convolutional.__name__} takes sides of at "
            "least 8; scale the images to such a size (image_size), or name a network of your own",
            stacklevel=3,
        )
    return dense
