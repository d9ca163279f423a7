"""Pictures in LMDB, as LSUN keeps them: a key for each encoded picture. Imports no Lightning."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch

from datamodules.datasets import SPLITS, Split
from datamodules.formats.containers import one_line
from datamodules.formats.records import Collection, FileRecords
from datamodules.image_files import file_stamp
from datamodules.labels import Classes, in_order
from datamodules.listing import Names
from datamodules.of_process import OfProcess
from datamodules.splits import split_named
from datamodules.summary import listed

DATA, LOCK = "data.mdb", "lock.mdb"
SUFFIXES = (".lmdb", ".mdb")  # of a data base in one file
COUNTS = ("length", "num-samples", "num_samples", "__len__", "__keys__")  # keys that say how many there are
_opened: WeakValueDictionary[tuple[int, str], Any] = WeakValueDictionary()  # by process and path


def is_lmdb(path: Path) -> bool:
    """Whether a path is an LMDB, as a folder or a file, or a folder that holds some."""
    return bool(_environments(path))


def _environments(path: Path) -> list[Path]:
    """The data bases at a path, or right below it; sorted."""
    if _is_environment(path):
        return [path]
    return sorted(filter(_is_environment, path.iterdir())) if path.is_dir() else []


def _is_environment(path: Path) -> bool:
    return (path / DATA).is_file() or (path.name != DATA and path.suffix.lower() in SUFFIXES and path.is_file())


class LMDBRecords(FileRecords):
    """The pictures of some data bases, one after another, in the order of their keys.

    A process opens each data base once, at the first use, whoever uses it: LMDB allows no second time.

    Args:
        paths: of the data bases, folders or files.
        prefix: takes only the keys that begin so.

    Attributes:
        left_out: keys that are no pictures, by kind.

    Raises:
        ModuleNotFoundError: without the package lmdb.
        ValueError: no data base, or a damaged one.
    """

    def __init__(self, paths: Sequence[str], prefix: str = ""):
        self._held: OfProcess[dict[str, Any]] = OfProcess(dict)
        self.left_out: Counter[str] = Counter()
        self._keys = [Names(self._listed(path, prefix)) for path in paths]
        super().__init__(paths, [file_stamp(_file(path)) for path in paths], [len(keys) for keys in self._keys])

    def _listed(self, path: str, prefix: str) -> Iterator[str]:
        """The keys of pictures."""
        sizes: Counter[str] = Counter()
        with _readable(path), self._environment(path).begin() as transaction, transaction.cursor() as cursor:
            for key in cursor.iternext(keys=True, values=False):
                name = os.fsdecode(key)
                if name in COUNTS:
                    self.left_out[f"key {name}"] += 1
                elif not name.startswith(prefix):
                    self.left_out[f"keys without {prefix!r}"] += 1
                else:
                    match = re.fullmatch(r"(\d+-)\d+", name)
                    sizes[match[1] if match else ""] += 1
                    yield name
        if len(sizes) > 1 and len(set(sizes.values())) == 1 and "" not in sizes:
            told = ", ".join(map(repr, sizes))
            raise ValueError(f"{path}: its keys begin with {told}: the pictures in several sizes? Say one by prefix")

    def content(self, record: int) -> bytes:
        """The value of a record's key."""
        number, row = self._place(record)
        path, key = self.paths[number], self._keys[number][row]
        with _readable(path, key), self._environment(path).begin() as transaction:
            value = transaction.get(os.fsencode(key))
        if value is None:
            raise ValueError(f"{path}: key {_told(key)} isn't there any more")
        return value

    def named(self, number: int, row: int) -> str:
        """Its key."""
        return f"key {_told(self._keys[number][row])}"

    def place_stamp(self, number: int, row: int) -> str:
        """Its key, since others may have come before it."""
        return self._keys[number][row]

    def _environment(self, path: str) -> Any:
        held = self._held.value
        if path not in held:
            held[path] = _open(path)
        return held[path]


def _open(path: str) -> Any:
    """The data base, which this process may have open already."""
    place, process = os.path.realpath(path), os.getpid()
    found = _opened.get((process, place))
    if found is not None:
        return found
    for (owner, other), inherited in list(_opened.items()):
        if owner != process and other == place:
            inherited.close()  # by this fork alone; LMDB opens no second one beside it
    with _readable(path):
        options = {"subdir": os.path.isdir(path), "lock": False, "readahead": False, "meminit": False}
        opened = _lmdb().open(path, readonly=True, create=False, **options)
        needed = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
        size = os.path.getsize(_file(path))
    if size < needed:  # what lies beyond the end of the memory map would kill the process
        opened.close()
        raise ValueError(f"{path}: can't be read: cut off, {size:,} of {needed:,} bytes")
    _opened[process, place] = opened
    return opened


def _file(path: str) -> str:
    return os.path.join(path, DATA) if os.path.isdir(path) else path


def _told(key: str) -> str:
    return os.fsencode(key).decode("utf-8", "backslashreplace")


def _lmdb() -> Any:
    try:
        import lmdb
    except ModuleNotFoundError:
        raise ModuleNotFoundError("reading LMDB needs the package lmdb: pip install 'lit-gen[lmdb]'") from None
    return lmdb


@contextmanager
def _readable(path: str, key: str | None = None) -> Iterator[None]:
    """What LMDB says within, as an error of one line that names the data base and the key."""
    try:
        yield
    except (_lmdb().Error, OSError) as error:
        told = one_line(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {'' if key is None else f'key {_told(key)} '}can't be read: {told}") from None


def open_lmdb(root: str, labels: str = "auto", prefix: str = "") -> Collection:
    """Data bases as LSUN has them: their keys are listed, and no picture is read.

    Args:
        root: a data base, or a folder of several, whose names say classes and splits.
        labels: ``auto``, or ``none`` for no labels.
        prefix: takes only the keys that begin so.

    Raises:
        FileNotFoundError: nothing at the path.
        ModuleNotFoundError: without the package lmdb.
        ValueError: no data base, a damaged one, or names that aren't clear.
    """
    path = Path(root)
    if not path.exists():
        raise FileNotFoundError(f"root={root!r}: there is no such file or folder")
    places = _environments(path)
    if not places:
        raise ValueError(f"root={root!r}: neither an LMDB, a folder with {DATA} or a file, nor a folder of some")
    records = LMDBRecords([str(place) for place in places], prefix)
    if len(records) == 0:
        raise ValueError(f"{root}: no key" + (f" that begins with {prefix!r}" if prefix else ""))
    said = [(None, "")] if places == [path] else [_said(place) for place in places]
    parts = _parts(root, places, [split for split, _ in said])
    classes = Classes() if labels == "none" else _classes(root, places, [name for _, name in said])
    numbers = torch.zeros(len(records), dtype=torch.int64)
    for number, (_, name) in enumerate(said):
        if classes.names:
            numbers[torch.from_numpy(records.of_file(number))] = classes.names.index(name)
    rows = {split: np.concatenate([records.of_file(number) for number in found]) for split, found in parts.items()}
    left_out = Counter(records.left_out)
    if places != [path]:
        others = [place for place in path.iterdir() if place not in places]
        left_out.update("hidden" if place.name.startswith(".") else place.suffix or place.name for place in others)
    divided = any(split is not None for split, _ in said)
    return Collection(root, records, rows, numbers, classes.names, divided, left_out)


def _said(path: Path) -> tuple[Split | None, str]:
    """Split and class that a name says: those of ``church_outdoor_train_lmdb`` are train and church_outdoor."""
    name = re.sub(r"[._-]?(lmdb|mdb)$", "", path.name, flags=re.IGNORECASE)
    rest, _, last = name.rpartition("_")
    split = split_named(last)
    return (None, name) if split is None else (split, rest)


def _parts(root: str, places: Sequence[Path], splits: Sequence[Split | None]) -> dict[Split, list[int]]:
    """Numbers of the data bases of each split."""
    if None in splits and set(splits) != {None}:
        without, other = places[splits.index(None)], next(p for p, s in zip(places, splits, strict=True) if s)
        raise ValueError(
            f"{root}: {without.name} says no split, beside {other.name}; the last word says it: train, val or test"
        )
    found: dict[Split, list[int]] = {}
    for number, split in enumerate(splits):
        found.setdefault(split or "train", []).append(number)
    return {split: found[split] for split in SPLITS if split in found}


def _classes(root: str, places: Sequence[Path], names: Sequence[str]) -> Classes:
    """Of the names of several data bases."""
    if len(set(names) - {""}) < 2:
        return Classes()
    without = [place.name for place, name in zip(places, names, strict=True) if not name]
    if without:
        raise ValueError(f"{root}: {listed(without)} says no class, beside {listed(in_order(names)[1:])}; labels=none")
    return Classes(in_order(names))
