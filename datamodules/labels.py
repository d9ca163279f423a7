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

from datamodules.zip_directory import Names

GAPS = 10  # numbers up to this many times the labels that occur are numbers of classes; beyond they are names
FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id", "name", "path", "id")
CLASS_NAMES = "class_names"  # in a .json, beside its labels
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")


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


def plain_labels(array: np.ndarray, count: int, what: str, each: str = "image") -> np.ndarray:
    """Labels (N,), integers from 0 or words, of an array that may also be a column (N, 1) or one-hot rows (N, K).

    Args:
        array: integers, booleans, words, or floats in one-hot rows.
        count: N.
        what: the array's name in the error message.
        each: what has a label, in the error message.

    Raises:
        ValueError: another shape or type, rows that are not one-hot, negative numbers.
    """
    if array.ndim == 2 and array.shape[0] == count and array.shape[1] > 1 and array.dtype.kind in "biuf":
        if not (((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()):
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
    """Labels of files by name, from a ``dataset.json`` (StyleGAN), another .json, or a .csv.

    A .json is ``{"labels": [[name, label], ...]}``, where null for all stands for no labels, or ``{name: label}``;
    ``"class_names": [...]`` beside ``labels`` names the classes by number. A .csv has a line of titles, two columns or
    titles of `FILE_COLUMNS` and `LABEL_COLUMNS`. Labels are integers from 0, words, or one-hot lists; names are paths
    below the folder, with or without their suffix.

    Args:
        content: of the file.
        path: its name.

    Attributes:
        names: of the files, each once; None where the file says that there are no labels.
        class_names: of the classes by number, where the file says them.

    Raises:
        ValueError: a file that is not of these forms.
    """

    def __init__(self, content: bytes, path: str):
        self.path = path
        self.class_names: tuple[str, ...] = ()
        try:
            text = content.decode("utf-8-sig")
            if Path(path).suffix.lower() == ".csv":
                read: Any = _rows_of_csv(text)
            else:
                told = json.loads(text)
                read, self.class_names = _rows_of_json(told), _names_of_json(told)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"{path}: not a readable file of labels: {' '.join(str(error).split())}") from error
        self.names = None if read is None else Names(read)
        self._labels: list[Any] = [] if read is None else [*read.values()]

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
        if len({type(label) for label in found}) > 1:
            raise ValueError(f"{self.path}: labels must be all numbers, all words or all one-hot lists")
        try:
            array = np.array(found)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self.path}: {error}") from error
        return plain_labels(array, len(names), f"{self.path}: labels {array.dtype} {array.shape}")

    def _by_name(self, names: Sequence[str]) -> list[Any]:
        assert self.names is not None
        labels = dict(zip(self.names, self._labels, strict=True))
        stems: dict[str, Any] = {}
        found = []
        for name in names:
            label = labels.get(name)
            if label is None:
                stem = name.rpartition(".")[0]
                stems = stems or {told.rpartition(".")[0]: of for told, of in labels.items() if "." in told}
                label = labels.get(stem, stems.get(stem))
            if label is None:
                raise ValueError(f"{self.path}: no label of {name}")
            found.append(label)
        return found


def _rows_of_json(content: Any) -> dict[str, Any] | None:
    labels = content.get("labels", content) if isinstance(content, dict) else content
    if labels is None:
        return None
    pairs = labels.items() if isinstance(labels, dict) else labels
    return _by_name((str(name).replace("\\", "/"), label) for name, label in pairs)


def _names_of_json(content: Any) -> tuple[str, ...]:
    names = content.get(CLASS_NAMES, []) if isinstance(content, dict) and "labels" in content else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{CLASS_NAMES} must be a list of words")
    return tuple(names)


def _rows_of_csv(text: str) -> dict[str, Any]:
    titles, *rows = [row for row in csv.reader(text.splitlines()) if row]
    file, label = (_column(titles, accepted) for accepted in (FILE_COLUMNS, LABEL_COLUMNS))
    if len(titles) == 2:
        file = (0 if label is None else 1 - label) if file is None else file
        label = 1 - file if label is None else label
    if file is None or label is None:
        accepted = ", ".join(FILE_COLUMNS if file is None else LABEL_COLUMNS)
        raise ValueError(f"its titles are {', '.join(titles)}; exactly one of {accepted} is needed")
    pairs = [(row[file].replace("\\", "/"), row[label].strip()) for row in rows if len(row) > max(file, label)]
    if len(pairs) < len(rows):
        raise ValueError(f"{len(rows) - len(pairs)} lines have fewer columns than the titles")
    numbers = all(_is_number(label) for _, label in pairs)
    return _by_name([(name, int(label) if numbers else label) for name, label in pairs])


def _by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, label in pairs:
        if found.setdefault(name, label) != label:
            raise ValueError(f"{name} has the labels {found[name]} and {label}")
    return found


def _column(titles: Sequence[str], accepted: Sequence[str]) -> int | None:
    named = [i for i, title in enumerate(titles) if title.strip().casefold() in accepted]
    return named[0] if len(named) == 1 else None


def listed_labels(path: str, count: int) -> np.ndarray:
    """A label for each image, in their order (N,), from a .npy, .csv or .json file.

    A .json is a list, or ``{"labels": [...]}``; a .csv has a line of titles and one column, or one of `LABEL_COLUMNS`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged file, or another number of labels.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"labels={path!r}: there is no such file")
    try:
        if path.endswith(".npy"):
            array = np.load(path, allow_pickle=False)
        elif path.endswith(".json"):
            content = json.loads(Path(path).read_text("utf-8-sig"))
            array = np.array(content["labels"] if isinstance(content, dict) else content)
        else:
            titles, *rows = [row for row in csv.reader(Path(path).read_text("utf-8-sig").splitlines()) if row]
            column = 0 if len(titles) == 1 else _column(titles, LABEL_COLUMNS)
            if column is None:
                raise ValueError(f"its titles are {titles}; exactly one of {', '.join(LABEL_COLUMNS)} is needed")
            words = [row[column].strip() for row in rows]
            array = np.array([int(word) for word in words] if all(map(_is_number, words)) else words)
    except (ValueError, KeyError, TypeError, LookupError, EOFError, OverflowError) as error:
        raise ValueError(f"labels={path!r}: not a readable file of labels: {error}") from error
    return plain_labels(array, count, f"labels={path!r}: {array.dtype} {array.shape}")


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()
