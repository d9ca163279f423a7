"""The headers and arrays of a .npz or .npy file, read without pickle."""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from datamodules.datasets import SPLITS, Split
from datamodules.splits import split_named, splits_named

PATTERNS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}", "{}_labels"))
UNDIVIDED = (("images", "labels"), ("arr_0", "arr_1"))  # np.savez(path, images, labels) names them arr_0 and arr_1
CLASS_NAMES = ("class_names", "label_names")
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError)


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
        images: the name of the images, with ``{}`` in the place of the split's name if there are splits; None finds
            them.
        labels: the same for the labels; ``none`` for no labels.

    Attributes:
        splits: images and labels of each split; those of an undivided file count as training images.
        divided: whether names say splits.
        left_out: names of arrays that are not used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a damaged file, names that say no split, or no images.
    """

    def __init__(self, path: str, ending: str = "", images: str | None = None, labels: str | None = None):
        if not Path(path).is_file():
            raise FileNotFoundError(f"path={path!r}: there is no such file; a .npz or .npy file is accepted")
        self.path = path
        try:
            self.members = _read_headers(path)
        except (*DAMAGE, TypeError) as error:
            raise ValueError(f"{path}: not a readable .npz or .npy file: {error}") from error
        named = {key.removesuffix(ending): member for key, member in self.members.items() if key.endswith(ending)}
        if not named:
            raise ValueError(f"ending={ending!r}: {path} holds {', '.join(self.members)}, of which none ends so")
        self.names = next(
            (named.pop(key) for key in CLASS_NAMES if key in named and named[key].dtype.kind == "U"), None
        )
        self.splits, self.divided = _find_splits(path, named, images, labels)
        for found, _ in self.splits.values():
            if 0 in found.shape or not found.shape:
                raise ValueError(f"{path}: {found} holds no images")
        used = {member.key for pair in self.splits.values() for member in pair if member is not None}
        self.left_out = sorted(member.key for member in named.values() if member.key not in used)

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


def _find_splits(
    path: str, members: Mapping[str, Member], images: str | None, labels: str | None
) -> tuple[dict[Split, tuple[Member, Member | None]], bool]:
    """Images and labels of each split by their names, and whether these say splits."""
    if images is not None:
        found, divided = _named(path, members, "images", images), "{}" in images
    elif len(members) == 1:
        found, divided = {"train": next(iter(members.values()))}, False
    else:
        found, labels, divided = _recognised(path, members, labels)
    told = {} if labels in (None, "none") else _named(path, members, "labels", labels)
    pairs = {split: (member, told.get(split)) for split, member in found.items()}
    without = [member.key for member, label in pairs.values() if label is None]
    if 0 < len(without) < len(pairs):
        raise ValueError(
            f"{path} has labels for some splits but not for {', '.join(without)}; give all of them or none"
        )
    return pairs, divided


def _recognised(
    path: str, members: Mapping[str, Member], labels: str | None
) -> tuple[dict[Split, Member], str | None, bool]:
    """Images of each split and the pattern of the labels' names, by the usual names; whether there are splits."""
    folded = {key.casefold(): key for key in members}
    found: list[tuple[dict[Split, Member], str | None, bool]] = []
    for images, usual in PATTERNS:
        named = bool(_matches(path, members, usual))
        found.append((_matches(path, members, images), labels or (usual if named else None), True))
    for images, usual in UNDIVIDED:
        whole: dict[Split, Member] = {"train": members[folded[images]]} if images in folded else {}
        found.append((whole, labels or folded.get(usual), False))
    for recognised in sorted(found, key=lambda table: "train" not in table[0]):
        if recognised[0]:
            return recognised
    raise ValueError(
        f"{path} holds {', '.join(members) or 'nothing'}; accepted are x_train, y_train, x_val, ..., or train_images, "
        "train_labels, val_images, ..., or train, val, test, or images and labels, or arr_0 and arr_1, or a single "
        "array; or name them: images=..., labels=..., with {} for the split"
    )


def _matches(path: str, members: Mapping[str, Member], pattern: str) -> dict[Split, Member]:
    """The arrays whose names are the pattern with a split's name in the place of {}, in whatever case."""
    form = re.compile(re.escape(pattern).replace(r"\{\}", "(.+)"), re.IGNORECASE | re.DOTALL)
    words = {match[1]: member for key, member in members.items() if (match := form.fullmatch(key))}
    words = {word: member for word, member in words.items() if split_named(word) is not None}
    found = {split: words[word] for split, word in splits_named(words, path).items()}
    return {split: found[split] for split in SPLITS if split in found}


def _named(path: str, members: Mapping[str, Member], option: str, pattern: str) -> dict[Split, Member]:
    """The arrays that an option, or a usual name, says."""
    found: dict[Split, Member]
    if "{}" in pattern:
        found = _matches(path, members, pattern)
    else:
        found = {"train": members[pattern]} if pattern in members else {}
    if not found:
        raise ValueError(f"{option}={pattern!r}: {path} holds {', '.join(members) or 'nothing'}")
    return found
