"""Map-style data sets that hand out a whole batch in one indexing operation."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

Split = Literal["train", "val", "test"]
"""The name of a split."""
T = TypeVar("T")
SPLITS: tuple[Split, ...] = get_args(Split)
# Encoded pictures that are read before the first of them is decoded: a decoder is slower after each call of the system.
AHEAD = 16


def to_float(images: Tensor) -> Tensor:
    """Maps uint8 0..255 to float32 [-1, 1] by x / 127.5 - 1; floats are returned as they are."""
    if images.dtype != torch.uint8:
        return images
    return images.to(torch.float32).div_(127.5).sub_(1)


def in_runs(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, `AHEAD` at a time."""
    rest = iter(items)
    while run := list(islice(rest, AHEAD)):
        yield run


class BatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """A data set whose ``__getitems__`` returns a batch ``(images, labels)``.

    Images are uint8 (N, C, H, W), points float32 (N, D), labels int64 (N,).
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of images (or points)."""

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """The batch of these indices, in their order."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One image (C, H, W) or point (D,) and its label ()."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index}: the data set has {len(self)} images")
        images, labels = self.__getitems__([index % len(self)])
        return images[0], labels[0]


class InMemoryDataset(BatchDataset):
    """Images (N, C, H, W) or points (N, D) held in one tensor, with labels (N,) or none (then all 0).

    Args:
        images: the tensor.
        labels: class of each image.
        rows: of the tensor and labels that are the data set (n,), so that several share them; None for all.
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None, rows: Tensor | None = None):
        self._images, self._rows = images, rows
        labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
        self._all_labels = labels
        self.labels = labels if rows is None else labels[rows]

    @property
    def images(self) -> Tensor:
        """The images; a copy where the tensor holds more."""
        return self._images if self._rows is None else self._images[self._rows]

    def subset(self, rows: Tensor) -> "InMemoryDataset":
        """The data set of some of its images, which shares the tensor."""
        return InMemoryDataset(self._images, self._all_labels, rows if self._rows is None else self._rows[rows])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.tensor(indices)
        rows = index if self._rows is None else self._rows[index]
        return self._images.index_select(0, rows), self.labels.index_select(0, index)


class RandomFlip(BatchDataset):
    """Mirrors each image left to right with probability one half.

    The decision is one bit of a hash of (seed, epoch, index): the same whichever process or worker loads the
    image, and whether the run was interrupted or not. The loader calls `set_epoch` before an epoch begins.
    """

    def __init__(self, dataset: BatchDataset, seed: int):
        self.dataset = dataset
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # which workers that persist see too

    @property
    def epoch(self) -> int:
        """The epoch whose decisions are taken."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draws new decisions."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images, labels = self.dataset.__getitems__(indices)
        chosen = torch.from_numpy(hash64(self.seed, self.epoch, np.array(indices)) >> 63 == 1)
        return torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), self.flipped(images, indices), images), labels

    def flipped(self, images: Tensor, indices: list[int]) -> Tensor:
        """The images of these indices, all mirrored."""
        return images.flip(-1)


def splitmix64(state: np.ndarray) -> np.ndarray:
    """One output of the SplitMix64 generator (Steele et al. 2014) for each uint64 state."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def hash64(*words: int | np.ndarray) -> np.ndarray:
    """A 64-bit hash (N,) of integer words, scalars or (N,) arrays, chained through `splitmix64`."""
    digest = np.zeros(1, dtype=np.uint64)
    for word in words:
        digest = splitmix64(digest ^ np.asarray(word).astype(np.uint64))
    return digest


def split_sizes(total: int, val_share: float, test_share: float, what: str) -> tuple[int, int, int]:
    """Sizes of train, val and test for `total` images; a share above 0 gets at least one image.

    Args:
        total: number of images to divide.
        val_share: share of the validation split, 0 for none.
        test_share: share of the test split, 0 for none.
        what: the data's name in the error message.

    Raises:
        ValueError: nothing is left for training.
    """
    val, test = (max(1, round(total * share)) if share > 0 else 0 for share in (val_share, test_share))
    if val + test >= total:
        raise ValueError(
            f"{what}: {total} images are too few for val_share={val_share}, test_share={test_share} and train"
        )
    return total - val - test, val, test


def check_shares(val_share: float, test_share: float) -> None:
    """Raises ValueError unless both shares are at least 0 and leave something for training."""
    if val_share < 0 or test_share < 0 or val_share + test_share >= 1:
        raise ValueError(
            f"val_share={val_share}, test_share={test_share}: both must be at least 0 and their sum below 1"
        )
