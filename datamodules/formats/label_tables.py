"""Files of labels as tables: .csv, .json, and the list of attributes of CelebA."""

import csv
import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.formats.containers import one_line

FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id", "name", "path", "id")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
CLASS_NAMES = "class_names"  # in a .json, beside its labels
BINARY = ("0", "1", "-1")  # what a cell says of an attribute


@dataclass(frozen=True)
class LabelTable:
    """Labels by the names of files.

    Args:
        labels: a number, a word, or a list of numbers for each name; None where the file says that there are none.
        columns: what the numbers of a list stand for, if that is known.
        class_names: of the classes by number, if the file says them.
    """

    labels: dict[str, Any] | None
    columns: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


def read_table(content: bytes, path: str, attributes: bool = False) -> LabelTable:
    """What a file of labels says.

    Args:
        content: of a .csv, a .json or a .txt as CelebA's ``list_attr_celeba.txt``.
        path: its name.
        attributes: whether its attributes are asked for, not a column of classes.

    Raises:
        ValueError: a file that is not of these forms.
    """
    collecting = gc.isenabled()
    gc.disable()  # which would go through a million pairs again and again as they are made, a quarter of the time
    try:
        text, suffix = content.decode("utf-8-sig"), Path(path).suffix.lower()
        if suffix == ".csv":
            return _of_csv(text, attributes)
        return _of_celeba(text) if suffix == ".txt" else _of_json(json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError, csv.Error) as error:
        raise ValueError(f"{path}: not a readable file of labels: {one_line(error)}") from error
    finally:
        if collecting:
            gc.enable()


def _of_celeba(text: str) -> LabelTable:
    count, names, *rows = [line.split() for line in text.splitlines() if line.strip()]
    if len(count) != 1 or not is_number(count[0]):
        raise ValueError(f"its first line is {' '.join(count)[:40]!r}, where CelebA's list has the number of images")
    wrong = next((row for row in rows if len(row) != len(names) + 1 or not set(row[1:]) <= set(BINARY)), None)
    if wrong is not None:
        raise ValueError(f"the line of {wrong[0]} has no name and {len(names)} times 1 or -1")
    if len(rows) != int(count[0]):
        raise ValueError(f"{len(rows):,} lines of images, but {int(count[0]):,} by its first line")
    return LabelTable(_by_name([(row[0], list(map(int, row[1:]))) for row in rows]), tuple(names))


def _of_json(content: Any) -> LabelTable:
    labels = content.get("labels", content) if isinstance(content, dict) else content
    if labels is None:
        return LabelTable(None)
    pairs = labels.items() if isinstance(labels, dict) else [(name, label) for name, label in labels]
    pairs = [(str(name).replace("\\", "/"), label) for name, label in pairs]
    told = content.get("attribute_names", ()) if isinstance(content, dict) else ()
    columns, values = as_rows([label for _, label in pairs], tuple(map(str, told)))
    by_name = _by_name(list(zip((name for name, _ in pairs), values, strict=True)))
    return LabelTable(by_name, columns, _names_of_json(content))


def _names_of_json(content: Any) -> tuple[str, ...]:
    names = content.get(CLASS_NAMES, []) if isinstance(content, dict) and "labels" in content else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{CLASS_NAMES} must be a list of words")
    return tuple(names)


def as_rows(labels: Sequence[Any], columns: tuple[str, ...] = ()) -> tuple[tuple[str, ...], list[Any]]:
    """Lists of the words that hold for an image, or values by attribute, as rows of numbers; others as they are.

    Returns:
        What the numbers of a row stand for, if that is known, and the labels.
    """
    if labels and all(isinstance(label, dict) for label in labels):
        columns = columns or tuple(labels[0])
        if any(set(label) != set(columns) for label in labels):
            raise ValueError(f"not all images have the attributes {', '.join(columns)}")
        return columns, [[int(label[name]) for name in columns] for label in labels]
    words = [label for label in labels if isinstance(label, list) and all(isinstance(word, str) for word in label)]
    if labels and len(words) == len(labels):
        columns = columns or tuple(sorted({word for label in words for word in label}))
        return columns, [[int(name in label) for name in columns] for label in words]
    return columns, list(labels)


def _of_csv(text: str, attributes: bool) -> LabelTable:
    titles, *rows = [row for row in csv.reader(text.splitlines()) if row]
    file, label = (column(titles, accepted) for accepted in (FILE_COLUMNS, LABEL_COLUMNS))
    if len(titles) == 2:
        file = (0 if label is None else 1 - label) if file is None else file
        label = 1 - file if label is None else label
    short = sum(len(row) < len(titles) for row in rows)
    if file is not None and (attributes or label is None) and not short:
        columns, values = binary_columns(titles, rows, {file} if len(titles) == 2 else {file, label}, attributes)
        if columns:
            names = [row[file].replace("\\", "/") for row in rows]
            return LabelTable(_by_name(list(zip(names, values, strict=True))), columns)
    if file is None or label is None:
        accepted = ", ".join(FILE_COLUMNS if file is None else LABEL_COLUMNS)
        raise ValueError(f"its titles are {', '.join(titles)}; exactly one of {accepted} is needed")
    pairs = [(row[file].replace("\\", "/"), row[label].strip()) for row in rows if len(row) > max(file, label)]
    if len(pairs) < len(rows):
        raise ValueError(f"{len(rows) - len(pairs)} lines have fewer columns than the titles")
    if empty := [name for name, told in pairs if not told]:
        raise ValueError(f"no label of {empty[0]} ({len(empty)} without one)")
    numbers = all(is_number(label) for _, label in pairs)
    return LabelTable(_by_name([(name, int(label) if numbers else label) for name, label in pairs]))


def binary_columns(
    titles: Sequence[str], rows: Sequence[Sequence[str]], others: set[int | None], some: bool = False
) -> tuple[tuple[str, ...], list[list[int]]]:
    """The titles and values of columns of 1, 0 and -1; none unless all columns are, or `some` are enough.

    Args:
        titles: of the columns.
        rows: of words.
        others: places of columns that are not looked at.
        some: whether columns of something else are left out.
    """
    places = [i for i in range(len(titles)) if i not in others]
    binary = [i for i in places if all(row[i].strip() in BINARY for row in rows)]
    if not rows or (len(binary) < len(places) and not some):
        return (), []
    return tuple(titles[i].strip() for i in binary), [[int(row[i]) for i in binary] for row in rows]


def _by_name(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, label in pairs:
        if found.setdefault(name, label) != label:
            raise ValueError(f"{name} has the labels {found[name]} and {label}")
    return found


def column(titles: Sequence[str], accepted: Sequence[str]) -> int | None:
    """The place of the one title that is accepted."""
    named = [i for i, title in enumerate(titles) if title.strip().casefold() in accepted]
    return named[0] if len(named) == 1 else None


def is_number(word: str) -> bool:
    """Whether a word is a whole number from 0."""
    return word.isascii() and word.isdigit()
