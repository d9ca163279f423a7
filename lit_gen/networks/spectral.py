"""Spectral normalisation of a network (Miyato et al. 2018, arXiv:1802.05957)."""

from torch import nn
from torch.nn.utils import parametrizations, parametrize

from lit_gen.networks.layers import LINEAR_LAYERS

NORMALISED_LAYERS = (*LINEAR_LAYERS, nn.Embedding)


def add_spectral_norm(network: nn.Module, n_power_iterations: int = 1) -> None:
    """Divide the weights of all linear and convolution layers by their largest singular values.

    A convolution's weight is read as a matrix, output channels by the rest; embeddings of labels are normalised too,
    as in arXiv:1802.05637. The singular value is estimated by power iteration, at every pass in training mode.

    Raises:
        ValueError: for a weight that is parametrised already, or zero, before any layer is changed.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, NORMALISED_LAYERS)}
    for name, layer in layers.items():
        kind = type(network).__name__
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(
                f"{kind}: layer {name!r} is normalised already; take a network's spectral_norm=True or the constraint "
                "SpectralNorm, not both"
            )
        if not layer.get_parameter("weight").any():
            raise ValueError(f"{kind}: layer {name!r} is zero and has no direction; build it with spectral_norm=True")
    for layer in layers.values():
        parametrizations.spectral_norm(layer, n_power_iterations=n_power_iterations)
