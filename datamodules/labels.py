"""Labels of any form as classes 0 to K - 1 with names: numbers with gaps, words, one-hot rows, label files."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.formats.attributes import Attributes, is_binary, is_one_hot
from datamodules.formats.label_tables import (
    FILE_COLUMNS,
    LABEL_COLUMNS,
    as_rows,
    binary_columns,
    column,
    is_number,
    read_table,
)
from datamodules.zip_directory import Names

__all__ = [
    "FILE_COLUMNS",
    "LABEL_COLUMNS",
    "Classes",
    "LabelFile",
    "in_order",
    "is_label_file",
    "listed_labels",
    "plain_labels",
]
GAPS = 10  # numbers up to this many times the labels that occur are numbers of classes; beyond they are names
NO_ATTRIBUTES = Attributes()


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes as they are numbered: whole numbers by their value, else words by the alphabet."""
    names = set(names)
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


@dataclass(frozen=True)
class Classes:
    """What the classes 0 to K - 1 are called, and which label each stands for.

    Args:
        names: of the classes.
        values: the label of each class, sorted (K,): numbers or words; None where labels are the classes' numbers.
    """

    names: tuple[str, ...] = ()
    values: np.ndarray | None = None

    @classmethod
    def of(
        cls, labels: Iterable[np.ndarray], renumber: bool | None = None, names: Sequence[str] = (), least: int = 0
    ) -> "Classes":
        """The classes of some arrays of labels, integers from 0 or words.

        Args:
            labels: of all splits.
            renumber: make a class of each label that occurs, in their order, named by the label; else number i is
                class i, whether it occurs or not. None does so for words, and for numbers of which fewer than one in
                `GAPS` occurs: 0, 7 and 1,000,000 are three classes.
            names: of the classes by number, if they are known.
            least: number of classes, if more are known than the labels show; as of one-hot rows.

        Raises:
            ValueError: fewer names than classes, equal ones, numbers beside words, or a million classes of few labels.
        """
        found = [np.unique(part) for part in labels if part.size]
        if len({part.dtype.kind in "US" for part in found}) > 1:
            raise ValueError("labels are numbers in some splits and words in others")
        values = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
        if values.size == 0:
            return cls()
        if values.dtype.kind in "US":
            return cls(tuple(map(str, values)), values)
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise ValueError(f"class_names: {twice[0]!r} names {list(names).count(twice[0])} classes")
        count = max(int(values[-1]) + 1, least)
        if renumber is None:
            renumber = not names and not least and count > GAPS * len(values)
        if not renumber:
            if names and len(names) < count:
                raise ValueError(f"{len(names)} names of classes, but the largest label is {count - 1}")
            if not names and count > GAPS * len(values) and count > 2**20:
                raise ValueError(f"renumber=False: the label {count - 1} would make {count:,} classes; leave it out")
            return cls(tuple(names) or tuple(map(str, range(count))))
        told = tuple(names[value] if value < len(names) else str(value) for value in values.tolist())
        return cls(told, values)

    def numbers(self, labels: np.ndarray) -> Tensor:
        """Class of each label (N,), int64."""
        numbers = labels if self.values is None else np.searchsorted(self.values, labels)
        return torch.from_numpy(numbers.astype(np.int64))


def plain_labels(
    array: np.ndarray,
    count: int,
    what: str,
    each: str = "image",
    attributes: Attributes = NO_ATTRIBUTES,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Labels (N,), integers from 0 or words, of an array that may also be a column (N, 1) or one-hot rows (N, K).

    Args:
        array: integers, booleans, words, or floats in one-hot rows.
        count: N.
        what: the array's name in the error message.
        each: what has a label, in the error message.
        attributes: that make classes of rows (N, A) in which any number of values is 1.
        names: of the rows' columns, if they are known.

    Raises:
        ValueError: another shape or type, rows that are not one-hot without attributes, negative numbers.
    """
    rows = array.ndim == 2 and array.shape[0] == count and array.dtype.kind in "biuf"
    if attributes.chosen:
        if not rows:
            raise ValueError(f"{attributes}: {what} holds a label for each {each}, no attributes")
        return attributes.numbers(array, names, what)
    if rows and array.shape[1] > 1:
        if not is_one_hot(array):
            if is_binary(array):
                raise attributes.refusal(array, names, what)
            raise ValueError(f"{what}: rows of labels must be one-hot, a single 1 among zeros")
        return array.argmax(axis=1)
    if array.shape not in ((count,), (count, 1)) or array.dtype.kind not in "iuU":
        raise ValueError(
            f"{what} must be integer labels or words ({count},), or one-hot rows ({count}, K), one for each {each}"
        )
    labels = array.reshape(count)
    if labels.dtype.kind != "U":
        if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int64).max - 1):
            raise ValueError(f"{what} holds {labels.min() if labels.min() < 0 else labels.max()}; labels count from 0")
        labels = labels.astype(np.int64)
    return labels


class LabelFile:
    """Labels of files by name, from a ``dataset.json`` (StyleGAN), another .json, a .csv, or CelebA's list.

    A .json is ``{"labels": [[name, label], ...]}``, where null for all stands for no labels, or ``{name: label}``;
    ``"class_names": [...]`` beside ``labels`` names the classes by number. A .csv has a line of titles, two columns or
    titles of `FILE_COLUMNS` and `LABEL_COLUMNS`, or columns of attributes. A .txt is CelebA's
    ``list_attr_celeba.txt``, whose names are looked up without folders. Labels are integers from 0, words, or one-hot
    lists; or attributes, of which some make the classes: rows of 1 and 0 or -1, in a .json also lists of words, or
    ``{attribute: 1}``. Names are paths below the folder, with or without their suffix.

    Args:
        content: of the file.
        path: its name.
        attributes: that make the classes.

    Attributes:
        bare: whether names are without their folders.
        names: of the files, each once; None where the file says that there are no labels.
        class_names: of the classes by number, where the file says them.

    Raises:
        ValueError: a file that is not of these forms.
    """

    def __init__(self, content: bytes, path: str, attributes: Attributes = NO_ATTRIBUTES):
        self.path, self.attributes, self.bare = path, attributes, path.lower().endswith(".txt")
        table = read_table(content, path, bool(attributes.chosen))
        self.names = None if table.labels is None else Names(table.labels)
        self.columns = table.columns
        self.class_names = attributes.class_names or table.class_names or table.columns
        self._labels: list[Any] = [] if table.labels is None else [*table.labels.values()]

    def of(self, names: Sequence[str]) -> np.ndarray:
        """The label of each file, (N,) integers or words.

        Raises:
            ValueError: a file without a label, or labels that are of several kinds.
        """
        assert self.names is not None
        if not names:
            return np.zeros(0, dtype=np.int64)
        same = len(names) == len(self.names) and all(map(eq, names, self.names))
        found = self._labels if same else self._by_name(names)
        if None in found:
            raise ValueError(f"{self.path}: no label of {names[found.index(None)]}")
        if len({type(label) for label in found}) > 1:
            raise ValueError(f"{self.path}: labels must be all numbers, all words or all one-hot lists")
        try:
            array = np.array(found)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self.path}: {error}") from error
        what = f"{self.path}: labels {array.dtype} {array.shape}"
        return plain_labels(array, len(names), what, attributes=self.attributes, names=self.columns)

    def _by_name(self, names: Sequence[str]) -> list[Any]:
        assert self.names is not None
        labels = dict(zip(self.names, self._labels, strict=True))
        stems: dict[str, Any] = {}
        found = []
        for name in names:
            known = name.rpartition("/")[2] if self.bare else name
            label = labels.get(known)
            if label is None:
                stem = known.rpartition(".")[0]
                stems = stems or {told.rpartition(".")[0]: of for told, of in labels.items() if "." in told}
                label = labels.get(stem, stems.get(stem))
            if label is None:
                raise ValueError(f"{self.path}: no label of {name}")
            found.append(label)
        return found


def is_label_file(path: str) -> bool:
    """Whether a path is named like a file of labels in the images' order."""
    return path.endswith((".npy", ".csv", ".json", ".txt"))


def listed_labels(path: str, count: int, attributes: Attributes = NO_ATTRIBUTES) -> tuple[np.ndarray, tuple[str, ...]]:
    """A label for each image, in their order (N,), from a .npy, .csv, .json or .txt file, and what is known of names.

    A .json is a list, or ``{"labels": [...]}``; a .csv has a line of titles and one column, or one of `LABEL_COLUMNS`,
    or columns of attributes; a .txt is CelebA's ``list_attr_celeba.txt``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged file, or another number of labels.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"labels={path!r}: there is no such file")
    try:
        array, columns = _listed(path, bool(attributes.chosen))
    except (ValueError, KeyError, TypeError, LookupError, EOFError, OverflowError, csv.Error) as error:
        raise ValueError(f"labels={path!r}: not a readable file of labels: {error}") from error
    what = f"labels={path!r}: {array.dtype} {array.shape}"
    return plain_labels(array, count, what, attributes=attributes, names=columns), columns


def _listed(path: str, attributes: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels of a file in its order, (N,) or (N, A), and the names of columns."""
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False), ()
    if path.endswith(".txt"):
        table = read_table(Path(path).read_bytes(), path)
        return np.array(list((table.labels or {}).values())), table.columns
    text = Path(path).read_text("utf-8-sig")
    if path.endswith(".json"):
        content = json.loads(text)
        columns, labels = as_rows(content["labels"] if isinstance(content, dict) else content)
        return np.array(labels), columns
    titles, *rows = [row for row in csv.reader(text.splitlines()) if row]
    place = 0 if len(titles) == 1 else column(titles, LABEL_COLUMNS)
    if attributes or place is None:
        columns, values = binary_columns(titles, rows, {column(titles, FILE_COLUMNS)}, attributes)
        if columns:
            return np.array(values), columns
    if place is None:
        raise ValueError(f"its titles are {titles}; exactly one of {', '.join(LABEL_COLUMNS)} is needed")
    words = [row[place].strip() for row in rows]
    return np.array([int(word) for word in words] if all(map(is_number, words)) else words), ()
