"""Drawing images from a trained model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as L
import torch
from torch import Tensor, nn

SAMPLE_BATCH = 512  # images made at once by sample(), which bounds its memory


class Sampler(L.LightningModule, ABC):
    """A module that makes images of ``image_shape`` from latents z ~ N(0, I) of ``latent_dim``."""

    image_shape: tuple[int, ...]
    latent_dim: int
    averages: nn.ModuleDict

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Images ``(N, *image_shape)`` in [-1, 1] from latents ``(N, latent_dim)``."""

    def network(self, name: str) -> nn.Module:
        """The average of the network ``name`` if one is kept, else the network itself."""
        return self.averages[name] if name in self.averages else self.get_submodule(name)

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` images ``(n, *image_shape)`` in [-1, 1] from the averaged networks in eval mode.

        The latents are drawn on the CPU: the same ``generator`` state gives the same samples everywhere.

        Raises:
            ValueError: if ``n`` is negative, or labels are given to a model without them.
        """
        if n < 0:
            raise ValueError(f"n={n}: a number of samples can't be negative")
        if labels is not None:
            raise ValueError(f"labels: {type(self).__name__} is an unconditional model")
        z = torch.randn(n, self.latent_dim, generator=generator).to(self.device, self.dtype)  # type: ignore[arg-type]
        with self.evaluating():
            images = [self.decode(part) for part in z.split(SAMPLE_BATCH)]
        return torch.cat(images) if n else z.new_empty(0, *self.image_shape)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within, all networks are in eval mode."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
