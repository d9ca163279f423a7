"""PacGAN's packing: several samples judged as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """m samples as one, joined along the channels, or features of points (Lin et al. 2018, arXiv:1712.04086).

    Sample i goes with i + N/m, i + 2N/m, …, and so with the same ones on any number of processes.
    With m = 1 everything is left as it is.

    Args:
        size: m.
    """

    size: int

    def shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a joined sample."""
        return (self.size * sample_shape[0], *sample_shape[1:])

    def group(self, x: Tensor) -> Tensor:
        """Packs ``(N/m, m, *)`` of a batch ``(N, *)``.

        Raises:
            ValueError: for an N that m doesn't divide.
        """
        if self.size == 1:
            return x
        if len(x) % self.size:
            raise ValueError(f"pack={self.size}: the batch of {len(x)} samples on each process must divide by it")
        return x.unflatten(0, (self.size, -1)).transpose(0, 1)

    def pack(self, x: Tensor) -> Tensor:
        """The batch ``(N, C, *)`` as joined samples ``(N/m, m C, *)``."""
        return x if self.size == 1 else self.group(x).flatten(1, 2)

    def generate(self, generator: Callable[..., Tensor], z: Tensor, *labels: Tensor) -> Tensor:
        """Joined samples of the grouped latents ``(N/m, m, latent_dim)``, by one pass over all N."""
        if self.size == 1:
            return generator(z, *labels)
        return generator(z.flatten(0, 1)).unflatten(0, (-1, self.size)).flatten(1, 2)
