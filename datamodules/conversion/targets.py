"""What finished parts become: a folder, a .zip, an .npz, shards, parquet. Each is written at a name of its own."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from datamodules.conversion.parquet import write_parquet
from datamodules.conversion.parts import Finished, Item, items
from datamodules.datasets import SPLITS, Split
from datamodules.formats.label_tables import CLASS_NAMES
from datamodules.image_tree import STYLEGAN
from datamodules.listing import HIDDEN
from datamodules.shard_writer import write_index
from datamodules.splits import split_named

Kind = Literal["folder", "zip", "npz", "shards", "parquet"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BEGUN = (1980, 1, 1, 0, 0, 0)  # the time of every file in an archive: the same images make the same bytes
LONGEST = 100  # bytes of a class's name that may be a folder's
FOREIGN = '<>:"/\\|?*'  # letters that are part of no file's name on some system


def write_folder(path: Path, finished: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """Folders of the splits with folders of the classes, and a ``dataset.json`` that says labels and names exactly."""
    by_class = bool(class_names) and all(map(_is_plain, class_names)) and _unique(class_names)

    def place(item: Item) -> str:
        folder = class_names[item.label] if by_class and item.label is not None else f"{item.number // 1000:05d}"
        return f"{folder}/img{item.number:08d}.{item.suffix}"

    def written() -> Iterator[tuple[str, int | None]]:
        for item, name in _placed(finished, place):
            file = path / name
            if str(file.parent) not in made:
                file.parent.mkdir(parents=True, exist_ok=True)
                made.add(str(file.parent))
            file.write_bytes(item.content)
            yield name, item.label

    made: set[str] = set()
    path.mkdir()
    with open(path / STYLEGAN, "w") as listing:
        _write_listing(listing, written(), class_names)


def write_zip(path: Path, finished: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """StyleGAN's layout: stored, ``00000/img00000000.png``, ``dataset.json``; splits are folders above."""

    def place(item: Item) -> str:
        return f"{item.number // 1000:05d}/img{item.number:08d}.{item.suffix}"

    def written() -> Iterator[tuple[str, int | None]]:
        for item, name in _placed(finished, place):
            archive.writestr(zipfile.ZipInfo(name, BEGUN), item.content)
            yield name, item.label

    listing = io.StringIO()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _write_listing(listing, written(), class_names)
        archive.writestr(zipfile.ZipInfo(STYLEGAN, BEGUN), listing.getvalue())


def write_npz(path: Path, finished: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """Arrays ``train_images`` (N, H, W, C), or (N, H, W) of grey, ``train_labels`` (N,), …, and ``class_names`` (K,).

    Raises:
        ValueError: pictures of several shapes.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        shape: tuple[int, ...] | None = None
        for split in SPLITS:
            parts = [part for part in finished if part.done.split == split]
            count = sum(len(part.done.suffixes) for part in parts)
            if count == 0:
                continue
            with archive.open(zipfile.ZipInfo(f"{split}_images.npy", BEGUN), "w", force_zip64=True) as file:
                for item in items(parts):
                    array = np.load(io.BytesIO(item.content), allow_pickle=False)
                    if shape is None or array.shape != shape:
                        shape = _same(shape, array.shape, item)
                    pixels = array[0] if len(array) == 1 and array.ndim == 3 else np.moveaxis(array, 0, -1)
                    if item.number == 0:
                        head = {"descr": array.dtype.str, "fortran_order": False, "shape": (count, *pixels.shape)}
                        np.lib.format.write_array_header_1_0(file, head)
                    file.write(pixels.tobytes())
            if class_names:
                labels = np.array([label for part in parts for label in part.done.labels], dtype=np.int64)
                _write_array(archive, f"{split}_labels", labels)
        if class_names:
            _write_array(archive, CLASS_NAMES, np.array(class_names, dtype=str))


def write_shards(path: Path, finished: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """The parts themselves as shards of the WebDataset format, with their index."""
    path.mkdir()
    numbers = dict.fromkeys(SPLITS, 0)
    for part in finished:
        if part.done.suffixes:
            split: Split = part.done.split
            shard = path / f"{split}-{numbers[split]:06d}.tar"
            try:
                os.link(part.tar, shard)
            except OSError:  # where the file system has no links
                shutil.copyfile(part.tar, shard)
            numbers[split] += 1
    write_index(path, class_names)


Writer = Callable[[Path, Sequence[Finished], tuple[str, ...]], None]
WRITERS: dict[Kind, Writer] = {
    "folder": write_folder,
    "zip": write_zip,
    "npz": write_npz,
    "shards": write_shards,
    "parquet": write_parquet,
}


def _placed(finished: Sequence[Finished], place: Callable[[Item], str]) -> Iterator[tuple[Item, str]]:
    """Each picture with its name, below a folder of its split where there are several."""
    divided = len({part.done.split for part in finished if part.done.suffixes}) > 1
    for item in items(finished):
        yield item, f"{item.split}/{place(item)}" if divided else place(item)


def _write_listing(file: Any, named: Iterable[tuple[str, int | None]], class_names: tuple[str, ...]) -> None:
    """StyleGAN's ``dataset.json``, a pair at a time; names of the classes stand beside the labels."""
    pairs = (json.dumps([name, label]) for name, label in named)
    if not class_names:
        for _ in pairs:
            pass
        file.write('{"labels": null}')
        return
    file.write('{"labels": [')
    for i, pair in enumerate(pairs):
        file.write(", " * (i > 0) + pair)
    file.write(f'], "{CLASS_NAMES}": {json.dumps(class_names)}}}')


def _is_plain(name: str) -> bool:
    """Whether a name can be a folder's on any system, and means nothing else there."""
    return (
        name.isprintable()
        and not name.startswith(HIDDEN)
        and not set(name) & set(FOREIGN)
        and name == name.strip(" .")
        and 0 < len(os.fsencode(name)) <= LONGEST
        and split_named(name) is None
    )


def _unique(names: Sequence[str]) -> bool:
    """Whether names differ where case doesn't count."""
    return len({name.casefold() for name in names}) == len(names)


def _same(shape: tuple[int, ...] | None, other: tuple[int, ...], item: Item) -> tuple[int, ...]:
    if shape is not None:
        raise ValueError(
            f"{item.split} image {item.number} is of shape {other}, others are of {shape}, and an .npz holds arrays of "
            "one shape; say --image_size and --channels"
        )
    return other


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy", BEGUN), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
