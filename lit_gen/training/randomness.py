"""Random numbers by position in the global batch, so that neither processes nor a resumed run change them."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

# Normal numbers on the CPU are made in blocks of 16: only totals that are multiples of it share a common beginning.
NORMAL_BLOCK = 16


def mix(*key: int | str) -> int:
    """A seed in [0, 2^63) from any key, well spread even for keys that differ by one."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the CPU's global generator and the device's: dropout and users' own noise draw from them."""
    # torch.manual_seed would also queue a call, with its stack trace, for every kind of device that isn't in use.
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


class Randomness:
    """Noise for the samples of one process, a function of (key, position in the global batch) alone.

    Every process draws the numbers of the whole global batch and keeps its rows: process ``rank`` of
    ``world_size`` holds the samples at positions ``rank, rank + world_size, …``, as the data loaders do.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        self._generator = torch.Generator()

    def reseed(self, *key: int | str, device: torch.device | str = "cpu") -> None:
        """Start the sequence that belongs to ``key``, e.g. (seed, "train", step)."""
        if self._generator.device != torch.device(device):
            self._generator = torch.Generator(device)
        self._generator.manual_seed(mix(*key))

    def normal(self, n: int, *shape: int) -> Tensor:
        """N(0, 1) for this process's ``n`` samples, ``(n, *shape)`` float32."""
        return self._draw(torch.randn, n, shape)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """U[0, 1) for this process's ``n`` samples, ``(n, *shape)`` float32."""
        return self._draw(torch.rand, n, shape)

    def _draw(self, draw: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        rows = -(-n * self.world_size // NORMAL_BLOCK) * NORMAL_BLOCK
        numbers = draw(rows, *shape, generator=self._generator, device=self._generator.device)
        return numbers[self.rank :: self.world_size][:n]
