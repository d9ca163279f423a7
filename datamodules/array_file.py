"""The headers and arrays of a .npz or .npy file, read without pickle."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from datamodules.datasets import SPLITS, Split

PATTERNS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}", "{}_labels"))
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError)


@dataclass(frozen=True)
class Member:
    """One array of a file, as its header describes it."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.key!r} {self.dtype} {self.shape}"


class ArrayFile:
    """A .npz archive, or a .npy file as an archive of one array.

    Args:
        path: the file.
        ending: takes only the arrays whose names end so, and reads their names without it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a damaged file, names that say no split, or no images.
    """

    def __init__(self, path: str, ending: str = ""):
        if not Path(path).is_file():
            raise FileNotFoundError(f"path={path!r}: there is no such file; a .npz or .npy file is accepted")
        self.path = path
        try:
            self.members = _read_headers(path)
        except DAMAGE as error:
            raise ValueError(f"path={path!r}: not a readable .npz or .npy file: {error}") from error
        named = {key.removesuffix(ending): member for key, member in self.members.items() if key.endswith(ending)}
        if not named:
            raise ValueError(f"ending={ending!r}: {path} holds {', '.join(self.members)}, of which none ends so")
        self.splits = _find_splits(path, named)
        for images, _ in self.splits.values():
            if 0 in images.shape or not images.shape:
                raise ValueError(f"{path}: {images} holds no images")

    def array(self, member: Member) -> np.ndarray:
        """Reads one array."""
        try:
            if Path(self.path).suffix == ".npy":
                return np.load(self.path, allow_pickle=False)
            with np.load(self.path, allow_pickle=False) as archive:
                return archive[member.key]
        except DAMAGE as error:
            raise ValueError(f"{self.path}: {member} can't be read: {error}") from error


def _read_headers(path: str) -> dict[str, Member]:
    suffix = Path(path).suffix
    if suffix == ".npy":
        with open(path, "rb") as file:
            return {"array": _read_header("array", file)}
    if suffix != ".npz":
        raise ValueError(f"its suffix is {suffix!r}")
    members = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                key = name.removesuffix(".npy")
                members[key] = _read_header(key, file)
    return members


def _read_header(key: str, file: IO[bytes]) -> Member:
    shape, _, dtype = HEADER_READERS[np.lib.format.read_magic(file)](file)
    return Member(key, shape, dtype)


def _find_splits(path: str, members: dict[str, Member]) -> dict[Split, tuple[Member, Member | None]]:
    """Images and labels of each split by their names; the only images of a file count as training images."""
    for pattern in PATTERNS:
        names = {split: [part.format(split) for part in pattern] for split in SPLITS}
        found = {split: (members[x], members.get(y)) for split, (x, y) in names.items() if x in members}
        if "train" in found:
            break
    else:
        if "images" in members:
            found = {"train": (members["images"], members.get("labels"))}
        elif len(members) == 1:
            found = {"train": (next(iter(members.values())), None)}
        else:
            raise ValueError(
                f"{path} holds {', '.join(members) or 'nothing'}; accepted are x_train, y_train, x_val, ..., "
                "or train_images, train_labels, val_images, ..., or train, val, test, or images and labels, or a "
                "single array"
            )
    if len({labels is None for _, labels in found.values()}) > 1:
        without = ", ".join(images.key for images, labels in found.values() if labels is None)
        raise ValueError(f"{path} has labels for some splits but not for {without}; give all of them or none")
    return found
