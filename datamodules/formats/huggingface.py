"""Hugging Face's data sets as they lie on the disk: parquet, ``save_to_disk``, the cache. Imports no Lightning."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.datasets import SPLITS, Split
from datamodules.formats.columns import NoClassesError
from datamodules.formats.containers import one_line
from datamodules.formats.records import Collection
from datamodules.formats.tables import LARGE, ArrowRows, ParquetRows, Tables
from datamodules.labels import Classes
from datamodules.splits import split_in, split_named, splits_named
from datamodules.summary import listed

DICTIONARY, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"  # of save_to_disk
PARQUET, ARROW = ".parquet", ".arrow"
HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)  # owner/name

Files = dict[str, list[str]]


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` has written a folder."""
    return (folder / DICTIONARY).is_file() or ((folder / STATE).is_file() and (folder / INFO).is_file())


def open_huggingface(
    root: str,
    image_column: str | None = None,
    label_column: str | None = None,
    renumber: bool | None = None,
    window: int | None = None,
    config: str | None = None,
) -> Collection:
    """A data set of Hugging Face's: its files are listed, and no picture is read.

    Args:
        root: a file, a folder, or a name on the Hub.
        image_column: name of the column of pictures; None finds it.
        label_column: of labels; ``none`` for no labels; None finds it.
        renumber: as in `Classes.of`.
        window: as in `ParquetRows`.
        config: of the several that a data set of the Hub may have.

    Raises:
        FileNotFoundError: nothing at the path.
        ModuleNotFoundError: without the package pyarrow, or for a name without the package datasets.
        ValueError: damaged files, columns or splits that aren't clear, labels that don't fit.
    """
    found_files, left_out = _files(root, config)
    parts = _parts(root, found_files)
    files = {word: found_files[word] for word in parts.values()}
    paths = [path for group in files.values() for path in group]
    parquet = paths[0].lower().endswith(PARQUET)
    kind: Any = ParquetRows if parquet else ArrowRows
    records: Tables = kind(paths, image_column, label_column, **({"window": window} if parquet else {}))
    rows = {word: _rows(records, paths, group) for word, group in files.items()}
    labels, classes, notes = torch.zeros(len(records), dtype=torch.int64), Classes(), []
    if records.columns.label is not None:
        try:
            labels, classes = _labels(records, root, renumber)
        except NoClassesError as error:
            if label_column is not None:
                raise
            notes.append(f"no labels: {error}")
    unused = {f"column {name}": 1 for name in records.columns.unused}
    return Collection(
        root,
        records,
        {split: rows[word] for split, word in parts.items()},
        labels,
        classes.names,
        divided=set(parts.values()) != {""},
        left_out={**left_out, **unused},
        notes=(*notes, *_notes(records, [word for word in found_files if word not in files])),
    )


def _labels(records: Tables, root: str, renumber: bool | None) -> tuple[torch.Tensor, Classes]:
    """Class of each record (N,), and the classes."""
    found = records.labels()
    widths = {part.shape[1] for part in found if part.ndim == 2}
    if len(widths) > 1:
        raise ValueError(f"{root}: one-hot labels of {listed([*map(str, sorted(widths))])} classes")
    parts = [part.argmax(axis=1) if part.ndim == 2 else part for part in found]
    try:
        classes = Classes.of(parts, renumber, records.columns.class_names, max(widths, default=0))
        return torch.cat([classes.numbers(part) for part in parts]), classes
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from None


def _rows(records: Tables, paths: Sequence[str], group: Sequence[str]) -> np.ndarray:
    parts = [records.of_file(paths.index(path)) for path in group]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _notes(records: Tables, passed_over: Sequence[str]) -> list[str]:
    notes = []
    if records.stored:
        notes.append(f"{records.stored:,} of {len(records):,} rows hold a path in the place of bytes, which is read")
    if records.columns.candidates:
        notes.append(f"labels may be {listed(records.columns.candidates)}: say which by label_column")
    if passed_over:
        notes.append(f"left out the split {listed(passed_over)}")
    if isinstance(records, ParquetRows) and records.largest > LARGE:
        notes.append(
            f"row groups of up to {records.largest / 2**30:.1f} GiB, which every process that loads keeps in memory, "
            f"{records.held} at a time; write the files with smaller ones"
        )
    return notes


def _parts(root: str, files: Mapping[str, Any]) -> dict[Split, str]:
    """Which word of `files` is each split; of undivided data the only one is training's."""
    if len(files) == 1 and split_named(next(iter(files))) is None:
        return {"train": next(iter(files))}
    found = splits_named(files, root)
    if not found:
        raise ValueError(f"{root}: the splits {', '.join(files)}, of which none is called train, val or test")
    return {split: found[split] for split in SPLITS if split in found}


def _files(root: str, config: str | None) -> tuple[Files, dict[str, int]]:
    """Files by the word that says their split, ``""`` where nothing does; and what is left out, by kind."""
    path = Path(root)
    if config is not None and (path.exists() or not HUB.fullmatch(root)):
        raise ValueError(f"config={config!r}: only a data set of the Hub, owner/name, has one, and {root} is a path")
    if path.is_file():
        if not root.lower().endswith((PARQUET, ARROW)):
            raise ValueError(f"root={root!r}: accepted files are {PARQUET} and {ARROW}")
        return {"": [root]}, {}
    if not path.is_dir():
        if not HUB.fullmatch(root) or root.lower().endswith((PARQUET, ARROW)):
            raise FileNotFoundError(f"root={root!r}: there is no such file or folder")
        return _of_hub(root, config), {}
    if (path / DICTIONARY).is_file():
        words = _read_json(path / DICTIONARY, "splits")
        return {str(word): _saved(path / str(word)) for word in words}, {}
    if (path / STATE).is_file():
        return {"": _saved(path)}, {}
    return _parquet_below(path)


def _saved(folder: Path) -> list[str]:
    """The Arrow files of a folder that `save_to_disk` has written."""
    names = [file["filename"] for file in _read_json(folder / STATE, "_data_files")]
    if not names:
        raise ValueError(f"{folder}: no row")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder}: {STATE} names {listed(missing)}, which isn't there")
    return [str(folder / name) for name in names]


def _read_json(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not as save_to_disk writes it: {type(error).__name__} {error}") from None


def _parquet_below(root: Path) -> tuple[Files, dict[str, int]]:
    """The parquet files at any depth, by the split that a word of their names says, or the folder they lie in."""
    found: list[tuple[Split | None, Path]] = []
    left_out: dict[str, int] = {}
    folders = set()
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(PARQUET):
                kind = "hidden" if name.startswith(".") else Path(name).suffix.lower() or name
                left_out[kind] = left_out.get(kind, 0) + 1
                continue
            within = Path(folder).relative_to(root)
            of_folder = split_named(within.name)
            found.append((split_in(Path(name).stem) or of_folder, Path(folder) / name))
            folders.add(within.parent if of_folder else within)
    if not found:
        raise ValueError(f"root: neither a {PARQUET} file below {str(root)!r} nor what save_to_disk writes ({STATE})")
    if len(folders) > 1:
        told = ", ".join(sorted(str(folder) for folder in folders))
        raise ValueError(
            f"{root}: {PARQUET} files in several folders ({told}), which may be of several data sets; give one"
        )
    said = {split for split, _ in found}
    if None in said and said != {None}:
        without, other = (next(path for split, path in found if bool(split) is named) for named in (False, True))
        raise ValueError(
            f"{without}: its name says no split, beside {other.name}; a split is a word: train, val or test"
        )
    files: Files = {}
    for split, path in found:
        files.setdefault(split or "", []).append(str(path))
    return files, left_out


def _of_hub(name: str, config: str | None) -> Files:
    """The Arrow files in which `datasets.load_dataset` keeps a data set of the Hub, by split."""
    missing = f"root={name!r}: there is no such file or folder"
    try:
        import datasets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{missing}; data sets of Hugging Face's Hub need the package datasets: pip install 'lit-gen[datasets]'"
        ) from None
    try:
        loaded = datasets.load_dataset(name, config, keep_in_memory=False)
    except Exception as error:  # of the Hub, the connection, the disk, or the set's files
        told = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"{missing}, and from the Hub it can't be loaded: {told}") from None
    return {str(split): [str(file["filename"]) for file in part.cache_files] for split, part in loaded.items()}
