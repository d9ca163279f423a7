"""Which columns of a table hold pictures and labels, and what the labels are called. Imports no Lightning."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datamodules.formats.attributes import is_one_hot
from datamodules.labels import LABEL_COLUMNS

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
LABEL_NAMES = (*LABEL_COLUMNS, "fine_label", "cls")


class NoClassesError(ValueError):
    """A column's values say no class for each row, by the kind of values they are."""


def pyarrow() -> Any:
    """The package.

    Raises:
        ModuleNotFoundError: it isn't installed.
    """
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "reading parquet and Arrow files needs the package pyarrow: pip install 'lit-gen[parquet]'"
        ) from None
    return pyarrow


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Args:
        image: of pictures: struct<bytes, path>, as Hugging Face's data sets have them, or binary.
        label: of labels; None for none.
        class_names: of the labels by number, where the table says them.
        unused: all others.
        candidates: of these, several that say classes, where none of them is usual.
    """

    image: str
    label: str | None
    class_names: tuple[str, ...]
    unused: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: Any, where: str, image: str | None = None, label: str | None = None) -> "Columns":
        """Finds them by Hugging Face's features in the schema's metadata, by their types, and by usual names.

        Args:
            schema: of the table.
            where: the file, for errors.
            image: name of the column of pictures; None finds it.
            label: name of the column of labels; ``none`` for no labels; None finds it.

        Raises:
            ValueError: no such column, one of another type, or several that could be meant.
        """
        features, names = _features(schema), list(schema.names)
        pictures = [name for name in names if _holds_pictures(schema.field(name).type)]
        image = _image(where, features, names, pictures, image)
        classes = [name for name in names if _kind(features, name) == "ClassLabel"]
        plain = [name for name in names if name != image and _holds_labels(schema.field(name).type)]
        asked = label
        if label is None:
            usual = [name for name in LABEL_NAMES if name in plain]
            label = next(iter(usual), classes[0] if len(classes) == 1 else "none")
        elif label != "none" and label not in plain:
            told = f" is {schema.field(label).type}" if label in names else " isn't there"
            raise ValueError(f"label_column={label!r}: it{told}; {where} has {_told(schema)}; none for no labels")
        known = tuple(map(str, features[label].get("names") or ())) if label in classes else ()
        unused = tuple(name for name in names if name not in (image, label))
        candidates = tuple(classes) if asked is None and label == "none" else ()
        return cls(image, None if label == "none" else label, known, unused, candidates)


def _image(where: str, features: Mapping[str, Any], names: list[str], pictures: list[str], asked: str | None) -> str:
    if asked is not None:
        if asked not in pictures:
            told = "has no pictures (struct<bytes, path> or binary)" if asked in names else "isn't there"
            raise ValueError(f"image_column={asked!r}: it {told}; {where} has the columns {', '.join(names)}")
        return asked
    found = [name for name in pictures if _kind(features, name) == "Image"] or pictures
    usual = [name for name in IMAGE_NAMES if name in found] or found
    if not usual:
        raise ValueError(
            f"{where}: none of the columns {', '.join(names)} holds encoded pictures, struct<bytes, path> or binary"
        )
    if len(usual) > 1 and usual[0] != IMAGE_NAMES[0]:
        raise ValueError(f"{where}: pictures may be {' or '.join(usual)}; say which by image_column")
    return usual[0]


def labels_in(column: Any, name: str, count: int, where: str) -> np.ndarray:
    """Labels (N,), numbers from 0 or words; or one-hot rows (N, K) of a column of lists.

    Args:
        column: a chunked array.
        name: of the column.
        count: number of classes that have names; 0 if they have none.
        where: the file, for errors.

    Raises:
        NoClassesError: fractions, or lists that aren't one-hot.
        ValueError: a row without label or with one that is out of range.
    """
    types = pyarrow().types
    floating = types.is_floating(column.type)
    missing = column.is_null(nan_is_null=True) if floating else column.is_null()  # NaN is what pandas has for none
    if (row := missing.index(True).as_py()) >= 0:
        raise ValueError(f"{where}: row {row}: no label in {name!r}; label_column=none for no labels")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_string(column.type) or types.is_large_string(column.type):
        return np.array(column.to_pylist(), dtype=str)
    if _is_list(column.type):
        return _one_hot(column, f"{where}: {name!r} ({column.type})")
    values = column.to_numpy()
    if floating and (wrong := np.flatnonzero(values != np.floor(values))).size:
        raise NoClassesError(f"{where}: row {wrong[0]}: {values[wrong[0]]:g} in {name!r} is no number of a class")
    labels = values.astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | ((labels >= count) if count else False))
    if wrong.size:
        told = f"the label {labels[wrong[0]]} in {name!r}"
        known = f"of {count} classes" if count else "and labels count from 0"
        none = "; -1 stands for none: label_column=none" if labels[wrong[0]] == -1 else ""
        raise ValueError(f"{where}: row {wrong[0]}: {told} {known}{none}")
    return labels


def _one_hot(column: Any, what: str) -> np.ndarray:
    """Rows (N, K) of a column of lists, a single 1 among zeros in each."""
    try:
        rows = np.array(column.to_pylist(), dtype=np.float64)
        if rows.ndim == 2 and is_one_hot(rows):
            return rows
    except (TypeError, ValueError):  # of several lengths, or with nulls in them
        pass
    raise NoClassesError(f"{what}: lists are labels where they are one-hot, a single 1 among zeros")


def _features(schema: Any) -> dict[str, Any]:
    """Hugging Face's description of the columns, empty without one."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: told for name, told in found.items() if isinstance(told, dict)} if isinstance(found, dict) else {}


def _kind(features: Mapping[str, Any], name: str) -> Any:
    return features.get(name, {}).get("_type")


def _holds_pictures(kind: Any) -> bool:
    types = pyarrow().types
    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_list(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _holds_labels(kind: Any) -> bool:
    types = pyarrow().types
    if _is_list(kind):
        return any(is_kind(kind.value_type) for is_kind in (types.is_integer, types.is_boolean, types.is_floating))
    kind = kind.value_type if types.is_dictionary(kind) else kind
    words, numbers = (types.is_string, types.is_large_string), (types.is_integer, types.is_boolean, types.is_floating)
    return any(is_kind(kind) for is_kind in (*words, *numbers))


def _told(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
