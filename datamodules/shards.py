"""Shards of the WebDataset format: tar files in which ``a.png`` and ``a.cls`` are one sample.

They are read by an index of where each image begins, so that a position of an epoch is reached without reading what
comes before it. Nothing is unpacked to disk, and no member is unpickled.
"""

import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.array_file import DAMAGE
from datamodules.datasets import BatchDataset, Split
from datamodules.image_files import decode

INDEX = "index.npz"
SUFFIXES = ("png", "jpg", "jpeg", "webp", "npy")
SPLIT = re.compile(r"(?<![a-z])(train|val|test)(?:idation)?(?![a-z])")


@dataclass(frozen=True)
class ShardIndex:
    """Where the images of a folder's shards are: a row for each, in the order of the shards and of their members.

    Args:
        shards: names of the tar files, sorted.
        sizes: bytes of each, by which an index that is out of date is told.
        shard: number of each image's shard (N,).
        offset: where its bytes begin (N,).
        length: how many there are (N,).
        suffix: its place in `SUFFIXES` (N,).
        label: its class (N,), -1 without one.
    """

    shards: np.ndarray
    sizes: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    suffix: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> "ShardIndex":
        """The index stored beside the shards if it is up to date, else one made by reading their headers.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: no shards, or one that is damaged or not of the format.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"root: there is no folder {str(folder)!r}")
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.stat().st_size) for e in entries if e.name.endswith(".tar") and e.is_file())
        if not found:
            raise ValueError(f"root: no shard (.tar) in {str(folder)!r}")
        names, sizes = np.array([name for name, _ in found]), np.array([size for _, size in found])
        stored = cls._stored(folder / INDEX)
        if stored is not None and np.array_equal(stored.shards, names) and np.array_equal(stored.sizes, sizes):
            return stored
        rows = [(i, *row) for i, name in enumerate(names) for row in read_headers(folder / str(name))]
        columns = np.array(rows, dtype=np.int64).reshape(len(rows), 5).T
        if len(rows) and 0 < (columns[4] >= 0).sum() < len(rows):
            raise ValueError(f"root: some samples of {str(folder)!r} have a .cls and some have none")
        return cls(names, sizes, *columns)

    @classmethod
    def _stored(cls, path: Path) -> "ShardIndex | None":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls(**{name: archive[name] for name in cls.__dataclass_fields__})
        except (OSError, *DAMAGE):
            return None

    def split(self, name: Split) -> np.ndarray:
        """Rows of the images whose shard's name says this split, ``train`` if it says none."""
        named = (SPLIT.search(str(shard)) for shard in self.shards)
        mine = np.array([(match[1] if match else "train") == name for match in named])
        return np.flatnonzero(mine[self.shard])


def read_headers(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """Offset, length, suffix and label of each sample's image.

    Raises:
        ValueError: not an uncompressed tar, or a sample without exactly one image.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            yield from _samples(tar, path)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: not a whole, uncompressed tar file: {error}") from None


def _samples(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[int, int, int, int]]:
    key, image, label = "", None, -1
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
        match = re.fullmatch(r"((?:.*/|)[^.]+)\.([^/]*)", member.name)  # WebDataset's rule
        if match is None or not member.isreg() or member.issparse():
            continue
        if match[1] != key:
            if key:
                yield *_required(image, key, path), label
            key, image, label = match[1], None, -1
        suffix = match[2].lower()
        if suffix in SUFFIXES:
            if image is not None:
                raise ValueError(f"{path}: sample {key} has more than one image")
            image = (member.offset_data, member.size, SUFFIXES.index(suffix))
        elif suffix == "cls":
            content = tar.extractfile(member)
            text = content.read(20).strip() if content else b""
            if not text.isdigit():
                raise ValueError(f"{path}: {member.name} holds {text!r}; a class is a number from 0")
            label = int(text)
    if key:
        yield *_required(image, key, path), label


def _required(image: tuple[int, int, int] | None, key: str, path: Path) -> tuple[int, int, int]:
    if image is None:
        raise ValueError(f"{path}: sample {key} has no image; accepted are {', '.join(SUFFIXES)}")
    return image


class ShardImages(BatchDataset):
    """Images of one split as uint8 (C, H, W), or points as float32 (D,), decoded at every access.

    Args:
        folder: where the shards are.
        index: of all of them.
        rows: the split's rows of the index.
        image_shape: of the result; pictures are scaled and cropped to it, arrays must have it.
    """

    def __init__(self, folder: Path, index: ShardIndex, rows: np.ndarray, image_shape: tuple[int, ...]):
        self.folder, self.index, self.rows, self.image_shape = folder, index, rows, image_shape
        self.labels = torch.from_numpy(np.maximum(index.label[rows], 0))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images: dict[int, np.ndarray] = {}
        for i, (content, suffix, name) in self._contents(indices):
            images[i] = self._decoded(content, suffix, name)
        return torch.from_numpy(np.stack([images[i] for i in indices])), self.labels[torch.tensor(indices)]

    def _contents(self, indices: list[int]) -> Iterator[tuple[int, tuple[bytes, str, str]]]:
        """The bytes of the images, every shard opened once and read forwards."""
        index, rows = self.index, self.rows[indices]
        opened, file = -1, None
        try:
            for i, row in sorted(zip(indices, rows.tolist(), strict=True), key=lambda pair: pair[1]):
                shard = int(index.shard[row])
                path = self.folder / str(index.shards[shard])
                if shard != opened:
                    if file is not None:
                        file.close()
                    opened, file = shard, open(path, "rb")  # noqa: SIM115
                assert file is not None
                file.seek(int(index.offset[row]))
                content, name = file.read(int(index.length[row])), f"{path}: image {i}"
                yield i, (content, SUFFIXES[index.suffix[row]], name)
        finally:
            if file is not None:
                file.close()

    def _decoded(self, content: bytes, suffix: str, name: str) -> np.ndarray:
        if suffix != "npy":
            channels, height, width = self.image_shape
            return decode(io.BytesIO(content), (channels, height, width), name)
        array = read_array(content, name)
        if array.shape != self.image_shape:
            raise ValueError(f"{name}: an array of shape {array.shape}, not {self.image_shape}")
        return array


def read_array(content: bytes, name: str) -> np.ndarray:
    """An image uint8 (C, H, W) or a point float32 (D,) of a .npy member, read without pickle."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, *DAMAGE) as error:
        raise ValueError(f"{name}: not a readable array: {error}") from None
    if not isinstance(array, np.ndarray) or (array.dtype, array.ndim) not in ((np.uint8, 3), (np.float32, 1)):
        raise ValueError(f"{name}: arrays are images, uint8 (C, H, W), or points, float32 (D,)")
    return array
