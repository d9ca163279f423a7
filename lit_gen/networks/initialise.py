"""Initial weights by name."""

import math
from typing import Literal

import torch
from torch import nn

from lit_gen.networks.layers import LINEAR_LAYERS, init_dcgan

Init = Literal["dcgan", "he", "glorot", "orthogonal"]
"""The name of a distribution of initial weights."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def initialise(network: nn.Module, init: Init | None) -> None:
    """Draw the weights of all linear and convolution layers anew, and set their biases to zero; None leaves all alone.

    - "dcgan": N(0, 0.02²), and gains of batch norm N(1, 0.02²) (Radford et al. 2016, arXiv:1511.06434, section 4);
    - "he": N(0, 2/fan_in), which keeps the second moment through ReLUs (He et al. 2015, arXiv:1502.01852);
    - "glorot": uniform of variance 2/(fan_in + fan_out), between keeping the outputs' and the gradients' variance
      (Glorot & Bengio 2010);
    - "orthogonal": orthonormal rows or columns of the matrix of output channels by the rest (Saxe et al. 2014,
      arXiv:1312.6120; BigGAN, arXiv:1809.11096).

    A fan counts the connections of one unit: behind a stride a unit has fewer of them than a kernel has weights.
    A label's gains, biases and joined embeddings keep their own initial values.

    Raises:
        ValueError: for another name.
    """
    match init:
        case None:
            return
        case "dcgan":
            return init_dcgan(network)
        case "he" | "glorot" | "orthogonal":
            pass
        case _:
            raise ValueError(f"init={init!r}: 'dcgan', 'he', 'glorot', 'orthogonal' or None")
    for layer in network.modules():
        if isinstance(layer, LINEAR_LAYERS):
            _draw(layer, init)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def fans(layer: nn.Module) -> tuple[float, float]:
    """Connections into an output, and out of an input, of a linear or convolution layer, borders aside."""
    weight = layer.get_parameter("weight")
    kernel, stride = math.prod(weight.shape[2:]), math.prod(getattr(layer, "stride", ()))
    ways_in, ways_out = weight.shape[1] * kernel, weight.shape[0] // getattr(layer, "groups", 1) * kernel
    if isinstance(layer, TRANSPOSED):  # (in, out / groups, *kernel): every output misses what the stride leaves out
        return ways_out / stride, ways_in
    return ways_in, ways_out / stride


@torch.no_grad()
def _draw(layer: nn.Module, init: Init) -> None:
    weight, (fan_in, fan_out) = layer.get_parameter("weight"), fans(layer)
    if init == "he":
        nn.init.normal_(weight, 0.0, math.sqrt(2 / fan_in))
    elif init == "glorot":
        bound = math.sqrt(6 / (fan_in + fan_out))
        nn.init.uniform_(weight, -bound, bound)
    else:  # a view with the outputs in front, which orthogonal_ can't fill by itself
        matrix = weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else weight
        matrix.copy_(nn.init.orthogonal_(torch.empty_like(matrix, memory_format=torch.contiguous_format)))
