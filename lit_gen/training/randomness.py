"""Random numbers by position in the global batch, so that neither processes nor a resumed run change them."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

# Normal numbers on the CPU are made in blocks of 16: only totals that are multiples of it share a common beginning.
NORMAL_BLOCK = 16
BLOCK = 64  # positions whose numbers are drawn at once in a pass over many batches


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
    """Noise for the samples of one process: of the i-th draw since a key, a function of (key, i, position) alone.

    Process ``rank`` of ``world_size`` holds the samples at positions ``rank, rank + world_size, …``, as the data
    loaders do. In training the positions are those in the global batch, of which every process draws all numbers and
    keeps its own. Where the samples of a pass are numbered on (``first``), numbers are drawn by blocks of 64 positions:
    then batches of any size, the last ones of processes that have fewer samples among them, don't change them.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        self._generator = torch.Generator()
        self._key: tuple[int | str, ...] = ()
        self._draws = 0
        self._first: int | None = None

    def reseed(self, *key: int | str, device: torch.device | str = "cpu", first: int | None = None) -> None:
        """Start the draws that belong to ``key``, e.g. (seed, "train", step).

        Args:
            *key: Any numbers and words.
            device: Where numbers are made.
            first: This process's samples before the next one, in a pass over many batches; None for one batch.
        """
        if self._generator.device != torch.device(device):
            self._generator = torch.Generator(device)
        self._key, self._draws, self._first = key, 0, first

    def normal(self, n: int, *shape: int) -> Tensor:
        """N(0, 1) for this process's ``n`` samples, ``(n, *shape)`` float32."""
        return self._draw(torch.randn, n, shape)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """U[0, 1) for this process's ``n`` samples, ``(n, *shape)`` float32."""
        return self._draw(torch.rand, n, shape)

    def pass_over(self) -> None:
        """Leave out a draw that nobody reads: those after it are what they would be."""
        self._draws += 1

    def _draw(self, draw: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        key, self._draws = (*self._key, self._draws), self._draws + 1
        if self._first is None:
            rows = -(-n * self.world_size // NORMAL_BLOCK) * NORMAL_BLOCK
            return self._numbers(draw, key, rows, shape)[self.rank :: self.world_size][:n]
        positions = [(self._first + i) * self.world_size + self.rank for i in range(n)]
        start = positions[0] // BLOCK if positions else 0
        blocks = range(start, positions[-1] // BLOCK + 1 if positions else start)
        numbers = [self._numbers(draw, (*key, block), BLOCK, shape) for block in blocks]
        numbers = numbers or [torch.empty(0, *shape, device=self._generator.device)]
        return torch.cat(numbers)[[position - start * BLOCK for position in positions]]

    def _numbers(self, draw: Callable[..., Tensor], key: tuple[int | str, ...], rows: int, shape: tuple) -> Tensor:
        generator = self._generator.manual_seed(mix(*key))
        return draw(rows, *shape, generator=generator, device=generator.device)
