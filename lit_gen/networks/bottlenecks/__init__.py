"""What an autoencoder's latents are: Gaussian, or one of finitely many codes at each position."""

from lit_gen.networks.bottlenecks.base import Bottleneck, Code, Quantizer
from lit_gen.networks.bottlenecks.fsq import FSQ
from lit_gen.networks.bottlenecks.gaussian import GaussianBottleneck
from lit_gen.networks.bottlenecks.lfq import LFQ
from lit_gen.networks.bottlenecks.vector_quantizer import VectorQuantizer

__all__ = ["FSQ", "LFQ", "Bottleneck", "Code", "GaussianBottleneck", "Quantizer", "VectorQuantizer"]
