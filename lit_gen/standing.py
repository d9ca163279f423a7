"""Standing statistics: batch norm's statistics measured anew, for sampling."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lit_gen.networks.layers import BATCH_NORMS


@torch.inference_mode(False)
@torch.no_grad()
def standing_statistics(network: nn.Module, latents: Iterable[Tensor]) -> nn.Module:
    """A frozen copy of ``network`` whose batch norms stand on ``latents`` (Brock et al. 2019, arXiv:1809.11096).

    In place of the running averages, which lag behind the weights and don't belong to averaged ones, every layer
    takes the mean of the batches' means, and of their variances, over all batches of ``latents``: section 3 and
    appendix B. All other layers are in eval mode. A network without batch norm comes back as it is.

    Args:
        network: A generator; it is not changed.
        latents: Batches ``(N, latent_dim)`` of at least 2, on the network's device.
    """
    if not any(isinstance(layer, BATCH_NORMS) for layer in network.modules()):
        return network
    standing = copy.deepcopy(network).requires_grad_(False).eval()
    for layer in standing.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over all batches
            layer.training = True
    for z in latents:
        standing(z)
    return standing.eval()
