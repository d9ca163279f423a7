"""Data sets of arrays that stay on the disk. Imports no Lightning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import BatchDataset, RandomFlip


class MappedDataset(BatchDataset):
    """The rows of a ``.npy`` file, memory-mapped in each process that reads them, with labels.

    Args:
        path: the file, (N, *).
        labels: class of each row.
        prepare: turns the rows that are read into what is handed out.
    """

    def __init__(self, path: Path, labels: Tensor, prepare: Callable[[Tensor], Tensor] | None = None):
        self.path, self.labels, self.prepare = path, labels, prepare
        self._rows: np.ndarray | None = None  # opened at the first use

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_rows": None}  # pickled it would be read whole

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        if self._rows is None:
            self._rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        index = np.asarray(indices, dtype=np.int64)
        order = np.argsort(index, kind="stable")  # forwards through the file
        rows = np.empty((len(index), *self._rows.shape[1:]), self._rows.dtype)
        rows[order] = self._rows[index[order]]
        images = torch.from_numpy(rows)
        return images if self.prepare is None else self.prepare(images), self.labels[torch.from_numpy(index)]


class RandomEncoding(RandomFlip):
    """Takes, with probability one half, the encoding of the mirrored image: `RandomFlip` before the encoder.

    Args:
        dataset: encodings of the images as they are.
        mirrored: of the mirrored images, in the same order.
        seed: of the decisions.
    """

    def __init__(self, dataset: BatchDataset, mirrored: BatchDataset, seed: int):
        super().__init__(dataset, seed)
        self.mirrored = mirrored

    def flipped(self, rows: Tensor, indices: list[int]) -> Tensor:
        """The encodings of the mirrored images."""
        return self.mirrored.__getitems__(indices)[0]
