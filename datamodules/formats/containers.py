"""Files that hold arrays by name: their headers, and each array when it is asked for."""

import importlib
import pickle
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# What NumPy, zipfile, h5py, SciPy and PyTorch raise for malformed files.
DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, LookupError, OverflowError)
DAMAGE += (NotImplementedError, RuntimeError, OSError, TypeError, AttributeError, struct.error, pickle.UnpicklingError)

# The reader of each suffix, in the module of its name.
READERS = {
    ".npz": ("numpy_files", "Npz"),
    ".npy": ("numpy_files", "Npy"),
    ".h5": ("hdf5", "HDF5"),
    ".hdf5": ("hdf5", "HDF5"),
    ".mat": ("matlab", "open_mat"),
    ".pt": ("tensors", "TensorFile"),
    ".pth": ("tensors", "TensorFile"),
}
ACCEPTED = ", ".join(READERS)


@dataclass(frozen=True)
class Member:
    """One array of a file, as its header describes it."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.key!r} {self.dtype} {self.shape}"


class Container(ABC):
    """A file of arrays. What goes wrong in reading it is one of `DAMAGE`.

    Args:
        path: the file.

    Attributes:
        by_rows: whether some rows of an array are read without the others.
        notes: what a user should know of how it was read, a sentence each; complete after the reading.
    """

    by_rows = False

    def __init__(self, path: str):
        self.path = path
        self.notes: list[str] = []

    @abstractmethod
    def headers(self) -> dict[str, Member]:
        """All arrays by name."""

    @abstractmethod
    def array(self, member: Member) -> np.ndarray:
        """One array, in memory of its own that may be written to."""

    def rows(self, member: Member, axis: int, indices: np.ndarray) -> np.ndarray:
        """Some rows of an array.

        Args:
            member: the array.
            axis: that counts the rows.
            indices: of the rows, increasing.
        """
        return self.array(member).take(indices, axis)

    def rows_of_chunk(self, member: Member, axis: int) -> int:
        """Number of rows that are stored, and unpacked, in one piece."""
        return 1


def is_array_file(path: str | Path) -> bool:
    """Whether a path is named like a file of arrays."""
    return Path(path).suffix.lower() in READERS


def open_container(path: str) -> Container:
    """The reader of a file, by its suffix.

    Raises:
        ValueError: another suffix, or a package that isn't there.
    """
    if not is_array_file(path):
        raise ValueError(f"{path}: its suffix is {Path(path).suffix!r}; accepted are {ACCEPTED}")
    module, name = READERS[Path(path).suffix.lower()]
    reader: Container = getattr(importlib.import_module(f"datamodules.formats.{module}"), name)(path)
    return reader


def one_line(error: BaseException) -> str:
    """An error's first words, which libraries spread over lines."""
    told = " ".join(str(error).split())
    return told if len(told) <= 300 else f"{told[:300]}…"
