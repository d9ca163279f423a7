"""A file of arrays, whatever its format: which arrays are images and labels, of which split."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datamodules.datasets import SPLITS, Split
from datamodules.formats.containers import ACCEPTED, DAMAGE, Member, one_line, open_container
from datamodules.splits import split_named, splits_named

PATTERNS = (
    ("x_{}", "y_{}"),
    ("{}_images", "{}_labels"),
    ("{}_imgs", "{}_labels"),
    ("{}/images", "{}/labels"),
    ("{}/imgs", "{}/labels"),
    ("{}", "{}_labels"),
)
UNDIVIDED = (
    ("images", "labels"),
    ("imgs", "labels"),  # StudioGAN's, in HDF5
    ("x", "y"),  # SVHN's, in .mat
    ("data", "labels"),
    ("data", "targets"),  # of the same images, those labels that are there
    ("arr_0", "arr_1"),  # np.savez(path, images, labels) names them so
)
CLASS_NAMES = ("class_names", "label_names", "attribute_names")


class ArrayFile:
    """A file of arrays in one of the formats of `READERS`.

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
        names: those of classes or attributes, if the file has some.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a damaged file, names that say no split, or no images.
    """

    def __init__(self, path: str, ending: str = "", images: str | None = None, labels: str | None = None):
        if not Path(path).is_file():
            raise FileNotFoundError(f"path={path!r}: there is no such file; accepted are {ACCEPTED}")
        self.path = path
        self.container = open_container(path)
        try:
            self.members = self.container.headers()
        except DAMAGE as error:
            raise ValueError(f"{path}: not a readable {Path(path).suffix} file: {one_line(error)}") from error
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
        with self._reading(member):
            return self.container.array(member)

    def rows(self, member: Member, axis: int, indices: np.ndarray) -> np.ndarray:
        """Reads some rows of one array, in the order of the file."""
        with self._reading(member):
            return self.container.rows(member, axis, indices)

    @contextmanager
    def _reading(self, member: Member) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise ValueError(f"{self.path}: {member} can't be read: {one_line(error)}") from error


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
    order = [images for images, _ in UNDIVIDED]
    for images, usual in sorted(UNDIVIDED, key=lambda pair: (order.index(pair[0]), pair[1] not in folded)):
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
