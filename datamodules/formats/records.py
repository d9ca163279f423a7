"""Encoded pictures that are kept by number, whatever the format, as a data set. Imports no Lightning."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from datamodules.datasets import Split, hash64, split_sizes
from datamodules.image_files import EncodedImages
from datamodules.pixel_values import DEFAULT, Reading


class Records(ABC):
    """Encoded pictures by their number. What is open is opened anew in each process, and never pickled."""

    pieces: np.ndarray | None = None
    """Number of the piece that each record is read with (N,); None where every order is as fast."""

    window = 0
    """Records among which a random order reads every piece once."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of records."""

    @abstractmethod
    def content(self, record: int) -> bytes:
        """An encoded picture.

        Raises:
            ValueError: it can't be read; names file and record.
        """

    @abstractmethod
    def described(self, record: int) -> str:
        """What errors call a record: its file, and its place there."""

    @abstractmethod
    def stamp(self, record: int) -> str:
        """What tells a picture from an earlier one of its place."""


class FileRecords(Records):
    """Records of several files, one file after another.

    Args:
        paths: the files, or folders that are one each.
        stamps: what tells each from an earlier one of its name.
        counts: of each one's records.
    """

    def __init__(self, paths: Sequence[str], stamps: Sequence[str], counts: Sequence[int]):
        self.paths, self._stamps = list(paths), list(stamps)
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def of_file(self, number: int) -> np.ndarray:
        """Numbers of the records in a file."""
        return np.arange(self._ends[number - 1] if number else 0, self._ends[number])

    def _place(self, record: int) -> tuple[int, int]:
        """Number of a record's file, and the row in it."""
        number = int(np.searchsorted(self._ends, record, side="right"))
        return number, record - int(self._ends[number - 1] if number else 0)

    @abstractmethod
    def named(self, number: int, row: int) -> str:
        """What a file's row is called in it."""

    def described(self, record: int) -> str:
        """The file, and what the record is called in it."""
        number, row = self._place(record)
        return f"{self.paths[number]}: {self.named(number, row)}"

    def stamp(self, record: int) -> str:
        """The file's name, size and time, and the place in it."""
        number, row = self._place(record)
        return f"{Path(self.paths[number]).name}\n{self._stamps[number]}\n{self.place_stamp(number, row)}"

    def place_stamp(self, number: int, row: int) -> str:
        """What tells a row from others of its file."""
        return str(row)


@dataclass(frozen=True)
class Collection:
    """Records with what they mean.

    Args:
        root: where they are.
        records: all of them.
        parts: sorted numbers of the records of each split that names say; of training where they say none.
        labels: class of each record (N,), 0 without labels.
        class_names: in the order of the labels; empty without labels.
        divided: whether names say splits.
        left_out: what is not read, by kind.
        notes: what a user should know, a sentence each.
    """

    root: str
    records: Records
    parts: Mapping[Split, np.ndarray]
    labels: Tensor
    class_names: tuple[str, ...] = ()
    divided: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def split(self, val_share: float, test_share: float) -> dict[Split, np.ndarray]:
        """Records of each split, sorted; what names don't say is taken from train, by a hash of the records' numbers.

        Raises:
            ValueError: no training split, or too few records to divide.
        """
        if "train" not in self.parts:
            raise ValueError(f"{self.root}: only the splits {', '.join(self.parts)}, and none to train on")
        val_share, test_share = (0.0 if "val" in self.parts else val_share, 0.0 if "test" in self.parts else test_share)
        whole = self.parts["train"]
        _, val, test = split_sizes(len(whole), val_share, test_share, self.root)
        ranked = whole[np.argsort(hash64(whole), kind="stable")]
        cut: dict[Split, np.ndarray] = {"train": ranked[val + test :], "val": ranked[:val], "test": ranked[val:][:test]}
        return {
            split: self.parts[split] if split != "train" and split in self.parts else np.sort(records)
            for split, records in cut.items()
        }


class RecordImages(EncodedImages):
    """Some records as uint8 (C, H, W), decoded at every access.

    Args:
        records: all of them.
        rows: numbers of the data set's own, sorted (n,).
        labels: class of each of these (n,).
        image_shape: (C, H, W) of the result, with C 1 or 3.
        reading: what the pictures' values mean.
    """

    def __init__(
        self,
        records: Records,
        rows: np.ndarray,
        labels: Tensor,
        image_shape: tuple[int, int, int],
        reading: Reading = DEFAULT,
    ):
        super().__init__(labels, image_shape, reading)
        self.records = records
        self.rows = rows

    @property
    def pieces(self) -> np.ndarray:
        """Number of the piece that each image is read with (n,)."""
        assert self.records.pieces is not None
        return self.records.pieces[self.rows]

    def in_order(self, indices: list[int]) -> list[int]:
        """Forwards, so that each piece is read once: the rows are sorted."""
        return sorted(indices)

    def opened(self, i: int) -> IO[bytes]:
        """The picture as a file."""
        return io.BytesIO(self.records.content(int(self.rows[i])))

    def described(self, i: int) -> str:
        """The record's file, and its place there."""
        return self.records.described(int(self.rows[i]))

    def stamps(self) -> Iterator[str]:
        """Shape and reading, then what tells each record from others."""
        yield self._protocol()
        for row in self.rows.tolist():
            yield self.records.stamp(row)
