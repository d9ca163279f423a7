"""Two data sets side by side, paired by nothing but the order in which they are drawn."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from datamodules.datasets import BatchDataset, hash64
from datamodules.loader import ShuffledSampler

DOMAINS = ("a", "b")


class Subset(BatchDataset):
    """Some images of a data set, in the order of ``indices``."""

    def __init__(self, dataset: BatchDataset, indices: Tensor):
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.dataset.__getitems__(self.indices[indices].tolist())


class Domains(Dataset[Any]):
    """The two domains of a split; a batch is ``{"a": (images, labels), "b": (images, labels)}``.

    An index i is the i-th image of each domain that has so many, and a pair (i, j) the i-th of a and the j-th of
    b. A domain without any image in a batch gives empty tensors.

    Args:
        a: images of one domain.
        b: images of the other one, of the same shape.
    """

    def __init__(self, a: BatchDataset, b: BatchDataset):
        self.a, self.b = a, b

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def __getitems__(self, indices: Sequence[int | tuple[int, int]]) -> dict[str, tuple[Tensor, Tensor]]:
        pairs = [(index, index) if isinstance(index, int) else index for index in indices]
        return {name: self._part(getattr(self, name), [pair[k] for pair in pairs]) for k, name in enumerate(DOMAINS)}

    def __getitem__(self, index: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Batches of one image, or none, of each domain."""
        return self.__getitems__([index])

    def _part(self, dataset: BatchDataset, indices: list[int]) -> tuple[Tensor, Tensor]:
        present = [index for index in indices if index < len(dataset)]
        if not present:  # a data set of files can't stack none of them
            images, labels = max(self.a, self.b, key=len).__getitems__([0])
            return images[:0], labels[:0]
        return dataset.__getitems__(present)


class OneDomain(BatchDataset):
    """A data set whose batches say which domain they are of."""

    def __init__(self, dataset: BatchDataset, domain: str):
        self.dataset, self.domain = dataset, domain

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> Any:
        return {self.domain: self.dataset.__getitems__(indices)}


class Augmented(Domains):
    """The training split, with the random numbers of each image's crop and flip as a third entry, ``(N, 3)`` float32.

    They are in [0, 1), a hash of (seed, epoch, domain, index): the same whichever process or worker loads the image,
    and whether the run was interrupted or not. The loader calls `set_epoch` before an epoch begins.

    Args:
        domains: the training split.
        seed: of the random numbers.
        pairs: whether counterparts have one domain's numbers.
    """

    def __init__(self, domains: Domains, seed: int, pairs: bool = False):
        super().__init__(domains.a, domains.b)
        self.seed, self.pairs = seed, pairs
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # which workers that persist see too

    @property
    def epoch(self) -> int:
        """The epoch whose numbers are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draws new numbers."""
        self._epoch.fill_(epoch)

    def __getitems__(self, indices: Sequence[int | tuple[int, int]]) -> Any:
        # Trainer(overfit_batches=...) counts through the longer domain.
        lengths = [len(self.a), len(self.b)]
        pairs = [(i % lengths[0], i % lengths[1]) if isinstance(i, int) else i for i in indices]
        batch = super().__getitems__(pairs)
        return {
            name: (*batch[name], self._chances(0 if self.pairs else k, np.array([pair[k] for pair in pairs])))
            for k, name in enumerate(DOMAINS)
        }

    def _chances(self, domain: int, indices: np.ndarray) -> Tensor:
        words = [hash64(self.seed, self.epoch, domain, kind, indices) >> 40 for kind in range(3)]
        return torch.from_numpy(np.stack(words, axis=1).astype(np.float32) / 2.0**24)


class UnpairedSampler(ShuffledSampler):
    """Pairs (i, j): a permutation of the longer domain, beside it permutations of the shorter one, one after another.

    An epoch is the longer domain once; the shorter one starts anew, in another order, whenever it is used up, so that
    after any number of batches two of its images differ by at most one in how often they were shown. The last
    incomplete global batch is dropped.

    Args:
        domains: the training split.
        batch_size: pairs per update over all processes, a multiple of `world_size`.
        rank: this process.
        world_size: number of processes.
        seed: chooses the sequence of permutations.
    """

    def __init__(self, domains: Domains, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0):
        super().__init__(domains, batch_size, rank, world_size, seed)
        self.lengths = (len(domains.a), len(domains.b))

    def __iter__(self) -> Iterator[Any]:
        orders = []
        for domain, length in enumerate(self.lengths):
            rng = np.random.default_rng((self.seed, self.epoch, domain))
            rounds = [rng.permutation(length) for _ in range(-(-self.size // length))]
            orders.append(np.concatenate(rounds)[: self.num_batches * self.batch_size])
        pairs = np.stack(orders, axis=1).reshape(self.num_batches, self.batch_size, 2)
        mine = pairs[self.start :, self.rank :: self.num_replicas].reshape(-1, 2)
        return iter([(int(i), int(j)) for i, j in mine])


def random_crops(images: Tensor, chances: Tensor, load_size: tuple[int, int] | None, flip: bool) -> Tensor:
    """Enlarges images, takes a random crop of their first size, and mirrors a random half left to right.

    Args:
        images: ``(N, C, H, W)`` float in [-1, 1], on any device.
        chances: numbers in [0, 1), ``(N, 3)``: place from the top, from the left, and the flip.
        load_size: height and width to enlarge to (bicubic), at least H and W; None for neither resize nor crop.
        flip: whether to mirror.

    Returns:
        ``(N, C, H, W)`` in [-1, 1].
    """
    n, height, width = len(images), *images.shape[-2:]
    if load_size is not None:
        images = F.interpolate(images, load_size, mode="bicubic", antialias=True).clamp(-1, 1)
    room = torch.tensor(images.shape[-2:], device=images.device) - torch.tensor([height, width], device=images.device)
    first = (chances[:, :2].double() * (room + 1)).long()
    rows = first[:, :1] + torch.arange(height, device=images.device)
    columns = first[:, 1:] + torch.arange(width, device=images.device)
    if flip:
        columns = torch.where(chances[:, 2:] < 0.5, columns.flip(1), columns)
    which = torch.arange(n, device=images.device)[:, None, None]
    return images.movedim(1, -1)[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
