"""Images of a file of arrays as a data set, of which a batch reads its rows."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import BatchDataset
from datamodules.formats.containers import Member
from datamodules.formats.hdf5 import CACHE
from datamodules.pixel_values import to_bytes

if TYPE_CHECKING:
    from datamodules.array_file import ArrayFile


class RowImages(BatchDataset):
    """Images of one array as uint8 (C, H, W), read at every access. Only the labels are in memory.

    Args:
        file: that holds the array.
        member: the array.
        axes: of it, in the order (N, C, H, W) or (N, H, W).
        white: the stored value that becomes 255.
        labels: class of each image (n,); None for all 0.
        rows: of the array that are the data set (n,); None for all.
    """

    def __init__(
        self,
        file: "ArrayFile",
        member: Member,
        axes: tuple[int, ...],
        white: float,
        labels: Tensor | None = None,
        rows: Tensor | None = None,
    ):
        self.file, self.member, self.axes, self.white = file, member, axes, white
        self.rows = torch.arange(member.shape[axes[0]]) if rows is None else rows
        self.labels = torch.zeros(len(self.rows), dtype=torch.int64) if labels is None else labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.tensor(indices, dtype=torch.int64)
        try:
            images = to_bytes(self.stored(index), self.white)
        except ValueError as error:
            raise ValueError(f"{self.file.path}: {self.member}: {error}") from error
        return torch.from_numpy(images), self.labels[index]

    def stored(self, index: Tensor) -> np.ndarray:
        """The stored values of some images (n, C, H, W). Each row is read once, in the order of the file."""
        rows, place = np.unique(self.rows[index].numpy(), return_inverse=True)
        images = self.file.rows(self.member, self.axes[0], rows).transpose(self.axes)
        images = images[:, None] if images.ndim == 3 else images
        return np.ascontiguousarray(images[place])

    @property
    def pieces(self) -> np.ndarray:
        """Number of the piece of the file in which each image lies (n,)."""
        return self.rows.numpy() // self.rows_of_chunk

    @property
    def rows_of_chunk(self) -> int:
        """Images that are stored, and unpacked, in one piece."""
        return self.file.container.rows_of_chunk(self.member, self.axes[0])

    @property
    def window(self) -> int:
        """Images whose pieces the file's reader keeps, so that each is unpacked once in any order among them."""
        stored = math.prod(self.member.shape) // self.member.shape[self.axes[0]] * self.member.dtype.itemsize
        return max(1, CACHE // stored - self.rows_of_chunk)

    def subset(self, rows: Tensor) -> "RowImages":
        """The data set of some of its images."""
        return RowImages(self.file, self.member, self.axes, self.white, self.labels[rows], self.rows[rows])

    def described(self, i: int) -> str:
        """What messages call image i."""
        return f"{self.file.path}: {self.member.key} {int(self.rows[i])}"
