"""Standing statistics: batch norm's statistics measured anew, for sampling."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.networks.layers import BATCH_NORMS
from lit_gen.training.sync_batch_norm import localise

BATCH_SIZE = 64


class StandingStatistics:
    """Networks on standing statistics, measured once for the same weights, on the same latents for all.

    Args:
        batches: Batches of 64 latents z ~ N(0, I).
        latent_dim: Dimension of z.
        num_classes: Classes of a conditional network, whose labels are drawn uniformly; 0 for an unconditional one.

    Raises:
        ValueError: for a negative number of batches.
    """

    def __init__(self, batches: int, latent_dim: int, num_classes: int = 0) -> None:
        if batches < 0:
            raise ValueError(f"standing_batches={batches}: a number of batches can't be negative")
        self.shape, self.num_classes = (batches, BATCH_SIZE, latent_dim), num_classes
        self._weights: Any = None
        self._standing = nn.Module()

    def __call__(self, network: nn.Module) -> nn.Module:
        """``network`` on its standing statistics, or as it is for 0 batches."""
        if self.shape[0] == 0:
            return network
        weights = [(p.device, p.data_ptr(), p._version) for p in network.parameters()]
        if weights != self._weights:
            generator, parameter = torch.Generator().manual_seed(0), next(network.parameters())
            inputs = [torch.randn(self.shape, generator=generator).to(parameter)]
            if self.num_classes:
                labels = torch.randint(self.num_classes, self.shape[:2], generator=generator)
                inputs.append(labels.to(parameter.device))
            self._standing = standing_statistics(network, *inputs)
            self._weights = weights
        return self._standing


@torch.inference_mode(False)
@torch.no_grad()
def standing_statistics(network: nn.Module, *inputs: Iterable[Tensor]) -> nn.Module:
    """A frozen copy of ``network`` whose batch norms stand on ``inputs`` (Brock et al. 2019, arXiv:1809.11096).

    In place of the running averages, which lag behind the weights and don't belong to averaged ones, every layer
    takes the mean of the batches' means, and of their variances, over all batches of ``inputs``: section 3 and
    appendix B. All other layers are in eval mode. A network without batch norm comes back as it is.

    Args:
        network: A generator; it is not changed.
        inputs: Batches ``(N, latent_dim)`` of at least 2 latents, and of as many labels for a conditional network, on
            its device.
    """
    if not any(isinstance(layer, BATCH_NORMS) for layer in network.modules()):
        return network
    # On the process' own batches alone: the others may not be sampling.
    standing = localise(copy.deepcopy(network)).requires_grad_(False).eval()
    for layer in standing.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over all batches
            layer.training = True
    for batch in zip(*inputs, strict=True):
        standing(*batch)
    return standing.eval()
