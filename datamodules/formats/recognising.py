"""Which format a path is of, without an option that says it. Imports no Lightning."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datamodules.decoding import is_image
from datamodules.formats.containers import is_array_file
from datamodules.formats.environments import is_lmdb, open_lmdb
from datamodules.formats.huggingface import ARROW, PARQUET, is_saved, open_huggingface
from datamodules.formats.records import Collection

DEEP = 2  # levels of folders at which tables are looked for


@dataclass(frozen=True)
class Format:
    """A format of encoded pictures that are no files.

    Args:
        told: what help and errors call it.
        data_module: name of its class in `datamodules`.
        open: lists what is at a path.
        holds: whether a path is of it.
    """

    told: str
    data_module: str
    open: Callable[[str], Collection]
    holds: Callable[[Path], bool]


def _is_huggingface(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (PARQUET, ARROW)
    return is_saved(path) or _holds_tables(path)


def _holds_tables(folder: Path) -> bool:
    """Whether there are parquet files, and no pictures that they may only describe, in a folder or two levels below."""
    found = False
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        if any(map(is_image, names)):
            return False
        found = found or any(name.lower().endswith(PARQUET) for name in names)
        if len(Path(place).relative_to(folder).parts) == DEEP:
            below.clear()
    return found


FORMATS = (
    Format(
        "Hugging Face's data sets (.parquet, a folder of them, a folder of save_to_disk)",
        "HuggingFaceDataModule",
        open_huggingface,
        _is_huggingface,
    ),
    Format("LMDB (a folder with data.mdb, or of some)", "LMDBDataModule", open_lmdb, is_lmdb),
)

TOLD = ", ".join(kind.told for kind in FORMATS)  # of all of them, for help and errors


def format_at(path: str) -> Format | None:
    """The format of a path, None for another or for nothing there."""
    place = Path(path)
    return next((kind for kind in FORMATS if kind.holds(place)), None) if place.exists() else None


def data_module_at(path: str) -> str | None:
    """Name of the data module that reads what is at a path; None for what none reads."""
    place = Path(path)
    if place.is_dir() and any(place.glob("*.tar")):
        return "StreamingDataModule"
    if (kind := format_at(path)) is not None:
        return kind.data_module
    if place.is_dir() or place.suffix.lower() == ".zip":
        return "ImageFolderDataModule"
    return "ArrayDataModule" if is_array_file(path) else None
