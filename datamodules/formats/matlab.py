"""MATLAB's .mat files: those up to version 7.2 by SciPy, those of 7.3, which are HDF5 files, by h5py."""

import math
from typing import Any

import numpy as np

from datamodules.formats.containers import Container, Member
from datamodules.formats.hdf5 import HDF5

# Those that are not of these kinds, such as structures and objects, hold no plain arrays.
KINDS = {f"{kind}{bits}": np.dtype(f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
KINDS |= {"single": np.dtype(np.float32), "double": np.dtype(np.float64)}
KINDS |= {"logical": np.dtype(np.bool_), "char": np.dtype(np.str_)}
CELL = "cell"  # an array of anything, as which MATLAB had words of several lengths
SVHN = (32, 32, 3)  # shape of the images of http://ufldl.stanford.edu/housenumbers, in `X`, with labels 1 to 10 in `y`


def open_mat(path: str) -> Container:
    """The reader of a .mat file, by its first bytes."""
    with open(path, "rb") as file:
        return Mat73(path) if file.read(10) == b"MATLAB 7.3" else Mat(path)


class Mat(Container):
    """A .mat file up to version 7.2. Vectors, which MATLAB has as (1, N) or (N, 1), are (N,)."""

    def headers(self) -> dict[str, Member]:
        """All arrays of numbers or characters, and vectors of cells, from their headers."""
        from scipy.io import whosmat
        from scipy.io.matlab import MatReadError

        try:
            listed = whosmat(self.path)
        except MatReadError as error:
            raise ValueError(error) from error
        members = {key: Member(key, _without_ones(shape), KINDS[kind]) for key, shape, kind in listed if kind in KINDS}
        cells = {key: _without_ones(shape) for key, shape, kind in listed if kind == CELL}
        words = {key: Member(key, shape, KINDS["char"]) for key, shape in cells.items() if len(shape) == 1}
        return members | words

    def array(self, member: Member) -> np.ndarray:
        """One array."""
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        try:
            array: np.ndarray = loadmat(self.path, variable_names=[member.key])[member.key]
        except MatReadError as error:
            raise ValueError(error) from error
        if array.dtype == object:
            return _words([cell.tolist() if cell.dtype.kind == "U" else [None] for cell in array.ravel()])
        if member.dtype.kind == "U":
            return np.char.strip(array)
        array = array.astype(np.bool_) if member.dtype.kind == "b" else array
        return _as_labels(self, member, array.reshape(_without_ones(array.shape)))


class Mat73(HDF5):
    """A .mat file of version 7.3: HDF5 whose arrays have their axes in the other order, and are read by rows."""

    def headers(self) -> dict[str, Member]:
        """All arrays of numbers, and vectors of cells, from their headers."""
        members = {}
        for key, member in super().headers().items():
            kind = self.dataset(key).attrs.get("MATLAB_class", b"").decode()
            if kind == CELL and len(shape := _without_ones(member.shape)) == 1:
                members[key] = Member(key, shape, KINDS["char"])
            elif kind in KINDS and kind != "char":
                members[key] = Member(key, _without_ones(member.shape[::-1]), KINDS[kind])
        return members

    def array(self, member: Member) -> np.ndarray:
        """One array."""
        if member.dtype.kind == "U":
            return _words([self._letters(cell) for cell in self.dataset(member.key)[()].ravel()])
        array = super().array(member).T
        array = array.astype(np.bool_) if member.dtype.kind == "b" else array
        return _as_labels(self, member, array.reshape(_without_ones(array.shape)))

    def _letters(self, cell: Any) -> list[str | None]:
        """The word of a cell, which is stored by a reference to its letters' numbers, in the form of SciPy's."""
        letters = self.handles().file[cell]
        words = letters.attrs.get("MATLAB_class", b"").decode() == "char"
        empty = "MATLAB_empty" in letters.attrs
        return ["".join(map(chr, letters[()].ravel())) if not empty else ""] if words else [None]

    def rows(self, member: Member, axis: int, indices: np.ndarray) -> np.ndarray:
        """Some rows of an array."""
        stored = super().rows(member, len(member.shape) - 1 - axis, indices).T
        return stored.astype(np.bool_) if member.dtype.kind == "b" else stored

    def rows_of_chunk(self, member: Member, axis: int) -> int:
        """Number of rows that are stored, and unpacked, in one piece."""
        return super().rows_of_chunk(member, len(member.shape) - 1 - axis)


def _words(cells: list[list[Any]]) -> np.ndarray:
    """The words in cells, (N,).

    Raises:
        ValueError: an empty cell, or one that holds no word.
    """
    for i, cell in enumerate(cells):
        if len(cell) != 1 or not cell[0]:
            raise ValueError(f"cell {i} holds no word")
    return np.array([cell[0].strip() for cell in cells])


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (math.prod(shape),) if len(shape) == 2 and 1 in shape else tuple(shape)


def _as_labels(container: Container, member: Member, array: np.ndarray) -> np.ndarray:
    """Whole numbers among the doubles of a vector as integers, and SVHN's 10, which stands for the digit 0, as 0."""
    if array.ndim != 1:
        return array
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    images = container.headers().get("X")
    if member.key == "y" and images and images.shape == (*SVHN, len(array)) and array.min() == 1 and array.max() == 10:
        container.notes[:] = [f"{container.path}: SVHN's label 10 is read as the digit 0, which it stands for"]
        return np.where(array == 10, 0, array)
    return array
