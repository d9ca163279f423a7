"""Plain `nn.Module` networks: generators, discriminators, encoders and decoders."""

from lit_gen.networks.auto import auto_decoder, auto_discriminator, auto_encoder, auto_generator
from lit_gen.networks.autoencoder import ConvDecoder, ConvEncoder
from lit_gen.networks.base import (
    CodeNetwork,
    Decoder,
    Discriminator,
    Encoder,
    Generator,
    Network,
    SpatialDecoder,
    SpatialEncoder,
    Translator,
)
from lit_gen.networks.bottlenecks import FSQ, LFQ, Bottleneck, Code, GaussianBottleneck, Quantizer, VectorQuantizer
from lit_gen.networks.conditioning import FeatureDiscriminator
from lit_gen.networks.dcgan import DCGANDecoder, DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from lit_gen.networks.fixup import FixupDiscriminator, FixupGenerator
from lit_gen.networks.hierarchies import BottomUp, Ladder, TopDown
from lit_gen.networks.initialise import Init, initialise
from lit_gen.networks.layers import ConditionalBatchNorm, Norm, couples_batch, has_batch_norm
from lit_gen.networks.maxout import MaxoutMLPDiscriminator
from lit_gen.networks.minibatch import Minibatch, MinibatchDiscrimination, MinibatchStdDev
from lit_gen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.networks.patchgan import PatchGAN
from lit_gen.networks.resnet import ResNetDiscriminator, ResNetGenerator
from lit_gen.networks.spectral import add_spectral_norm
from lit_gen.networks.stochastic import Hierarchy
from lit_gen.networks.tiles import translate_any_size
from lit_gen.networks.transformer import CodeTransformer
from lit_gen.networks.translation import ResNetTranslator, UNetTranslator

__all__ = [
    "FSQ",
    "LFQ",
    "Bottleneck",
    "BottomUp",
    "Code",
    "CodeNetwork",
    "CodeTransformer",
    "ConditionalBatchNorm",
    "ConvDecoder",
    "ConvEncoder",
    "DCGANDecoder",
    "DCGANDiscriminator",
    "DCGANEncoder",
    "DCGANGenerator",
    "Decoder",
    "Discriminator",
    "Encoder",
    "FeatureDiscriminator",
    "FixupDiscriminator",
    "FixupGenerator",
    "GaussianBottleneck",
    "Generator",
    "Hierarchy",
    "Init",
    "Ladder",
    "MLPDecoder",
    "MLPDiscriminator",
    "MLPEncoder",
    "MLPGenerator",
    "MaxoutMLPDiscriminator",
    "Minibatch",
    "MinibatchDiscrimination",
    "MinibatchStdDev",
    "Network",
    "Norm",
    "PatchGAN",
    "Quantizer",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "ResNetTranslator",
    "SpatialDecoder",
    "SpatialEncoder",
    "TopDown",
    "Translator",
    "UNetTranslator",
    "VectorQuantizer",
    "add_spectral_norm",
    "auto_decoder",
    "auto_discriminator",
    "auto_encoder",
    "auto_generator",
    "couples_batch",
    "has_batch_norm",
    "initialise",
    "translate_any_size",
]
