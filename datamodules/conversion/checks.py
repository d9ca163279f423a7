"""What is asked of a source before it is converted, and of a target before it gets its name."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.base import DataModule
from datamodules.conversion.parts import Finished
from datamodules.conversion.pictures import Wanted, content_of
from datamodules.datasets import SPLITS
from datamodules.decoding import Header
from datamodules.shard_writer import npy


def stamp_of(path: str | Path) -> str:
    """A fingerprint of a file, or of all files below a folder, by their names, sizes and times."""
    path = Path(path)
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        folders.sort()
        for name in sorted(names):
            status = os.stat(os.path.join(folder, name))
            where = os.path.relpath(os.path.join(folder, name), path)
            digest.update(os.fsencode(f"{where}\0{status.st_size}\0{status.st_mtime_ns}\0"))
    return digest.hexdigest()


def one_shape(data: DataModule, wanted: Wanted) -> Wanted:
    """The same for an array, which holds pictures of one shape: grey if all are, at the size that all have.

    Raises:
        ValueError: pictures of several sizes, of which none is wanted.
    """
    headers = [header for split in SPLITS for header in _headers(data.dataset(split))]
    sizes = {header.size for header in headers}
    if wanted.size is None and len(sizes) > 1:
        told = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3])
        raise ValueError(f"image_size=None: {data.name} has {len(sizes)} sizes of pictures ({told}, …), an array one")
    if not headers or data.image_shape[0] not in (1, 3):
        return replace(wanted, format="npy")
    grey: Literal[1, 3] = 1 if all(header.grey for header in headers) else 3
    return replace(wanted, format="npy", channels=wanted.channels or grey)


def _headers(dataset: Any) -> Iterator[Header]:
    for i in range(len(dataset)) if hasattr(dataset, "header") else ():
        with suppress(ValueError, OSError):  # what can't be read is told of when it is read
            yield dataset.header(i)


def verify(data: DataModule, finished: list[Finished], class_names: tuple[str, ...], name: str) -> None:
    """Compare what is read at the target with what was written: names of classes, and of each split all pictures.

    Raises:
        ValueError: something is missing or has changed.
    """
    if tuple(data.class_names if data.num_classes else ()) != class_names:
        raise ValueError(f"{name}: the names of the classes don't read back as they were written")
    for split in SPLITS:
        dataset: Any = data.dataset(split)
        parts = [part.done for part in finished if part.done.split == split]
        written = _keys([x for part in parts for x in part.checksums], [x for part in parts for x in part.labels])
        if len(dataset) != len(written):
            raise ValueError(f"{name}: {len(dataset)} images of {split} read back, {len(written)} were written")
        labels = dataset.labels.tolist() if class_names else []
        found = _keys([_checksum(dataset, i) for i in range(len(dataset))], labels)
        if not np.array_equal(np.sort(found), np.sort(written)):
            i = int(np.argmin(np.isin(found, written)))
            raise ValueError(f"{name}: {split} image {i} doesn't read back as it was written")


def _keys(checksums: list[int], labels: list[int]) -> np.ndarray:
    """What tells each picture and its label from others (n,); a folder of class folders has an order of its own."""
    keys = np.array(checksums, dtype=np.uint64)
    return keys | np.array(labels, dtype=np.uint64) << np.uint64(32) if labels else keys


def _checksum(dataset: Any, i: int) -> int:
    """Of a picture's file, or of an array as `Wanted` with the format ``npy`` writes it."""
    if hasattr(dataset, "opened"):
        return zlib.crc32(content_of(dataset, i))
    return zlib.crc32(npy(dataset[i][0].numpy()))
