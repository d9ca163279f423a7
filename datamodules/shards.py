"""Shards of the WebDataset format: tar files in which ``a.png`` and ``a.cls`` are one sample.

They are read by an index of where each image begins, so that a position of an epoch is reached without reading what
comes before it. Nothing is unpacked to disk, and no member is unpickled.
"""

import io
from collections import OrderedDict
from collections.abc import Iterator
from operator import itemgetter
from typing import IO

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import BatchDataset, in_runs
from datamodules.decoding import Header, decode, examine, read_extremes, read_header
from datamodules.formats.containers import DAMAGE
from datamodules.of_process import OfProcess, kept
from datamodules.pixel_values import DEFAULT, Reading
from datamodules.remote import LocalFolder, RemoteFolder
from datamodules.shard_index import SUFFIXES, ShardIndex

OPEN = 64  # shards that a process keeps open


class ShardImages(BatchDataset):
    """Images of one split as uint8 (C, H, W), or points as float32 (D,), decoded at every access.

    Args:
        folder: where the shards are, here or elsewhere.
        index: of all of them.
        rows: the split's rows of the index.
        labels: class of each of them (n,).
        image_shape: of the result; pictures are scaled and cropped to it, arrays must have it.
        reading: what the values of pictures mean.
    """

    pages = None

    def __init__(
        self,
        folder: LocalFolder | RemoteFolder,
        index: ShardIndex,
        rows: np.ndarray,
        labels: Tensor,
        image_shape: tuple[int, ...],
        reading: Reading = DEFAULT,
    ):
        self.folder, self.index, self.rows, self.image_shape = folder, index, rows, image_shape
        self.labels, self.reading = labels, reading
        self._opened: OfProcess[OrderedDict[int, tuple[str, IO[bytes]]]] = OfProcess(OrderedDict)

    @property
    def pieces(self) -> np.ndarray:
        """Number of each image's shard (n,)."""
        return self.index.shard[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images: dict[int, np.ndarray] = {}
        for run in in_runs(self._contents(indices)):
            images |= {i: self._decoded(*content) for i, content in run}
        return torch.from_numpy(np.stack([images[i] for i in indices])), self.labels[torch.tensor(indices)]

    def header(self, i: int) -> Header:
        """What the picture or array says of itself."""
        ((_, (content, suffix, name)),) = self._contents([i])
        if suffix != "npy":
            return read_header(io.BytesIO(content), name, self.reading)
        array = read_array(content, name)
        return Header(array.shape[1:], "array")

    def extremes(self, i: int) -> tuple[float, float, float]:
        """The least and largest stored value of image i, and the one that becomes white."""
        ((_, (content, suffix, name)),) = self._contents([i])
        if suffix != "npy":
            return read_extremes(io.BytesIO(content), name, self.reading)
        array = read_array(content, name)
        return float(array.min()), float(array.max()), 255

    def examined(self, i: int) -> tuple[Header, tuple[float, float, float], np.ndarray]:
        """Header, extremes and pixels of image i, decoded once."""
        ((_, (content, suffix, name)),) = self._contents([i])
        if suffix != "npy":
            channels, height, width = self.image_shape
            return examine(io.BytesIO(content), (channels, height, width), name, self.reading)
        array = self._decoded(content, suffix, name)
        return Header(array.shape[1:], "array"), (float(array.min()), float(array.max()), 255), array

    def opened(self, i: int) -> IO[bytes]:
        """The picture or array of image i as it is stored."""
        ((_, (content, _, _)),) = self._contents([i])
        return io.BytesIO(content)

    def described(self, i: int) -> str:
        """What errors call image i."""
        return f"{self._path(self.index.shard[self.rows[i]])}: image {i}"

    def _contents(self, indices: list[int]) -> Iterator[tuple[int, tuple[bytes, str, str]]]:
        """Bytes, suffix and name of the images, forwards through each shard."""
        index, rows = self.index, self.rows[indices]
        for i, row in sorted(zip(indices, rows.tolist(), strict=True), key=itemgetter(1)):
            shard = int(index.shard[row])
            path, file = self._file(shard)
            file.seek(int(index.offset[row]))
            yield i, (file.read(int(index.length[row])), SUFFIXES[index.suffix[row]], f"{path}: image {i}")

    def _file(self, shard: int) -> tuple[str, IO[bytes]]:
        """Path of a shard, and the file, which this process keeps open until others have taken its place."""
        return kept(self._opened.value, shard, OPEN, lambda: self._open(shard), lambda last: last[1].close())

    def _open(self, shard: int) -> tuple[str, IO[bytes]]:
        index, path = self.index, self._path(shard)
        file = self.folder.open(str(index.shards[shard]), int(index.sizes[shard]), index.checksum(shard))
        index.check(shard, file, path)
        return path, file

    def _path(self, shard: int) -> str:
        """What messages call a shard."""
        return f"{self.folder.told}/{self.index.shards[shard]}"

    def _decoded(self, content: bytes, suffix: str, name: str) -> np.ndarray:
        if suffix != "npy":
            channels, height, width = self.image_shape
            return decode(io.BytesIO(content), (channels, height, width), name, self.reading)
        array = read_array(content, name)
        if array.shape != self.image_shape:
            raise ValueError(f"{name}: an array of shape {array.shape}, not {self.image_shape}")
        return array


def read_array(content: bytes, name: str) -> np.ndarray:
    """An image uint8 (C, H, W) or a point float32 (D,) of a .npy member, read without pickle."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"{name}: not a readable array: {error}") from None
    if not isinstance(array, np.ndarray) or (array.dtype, array.ndim) not in ((np.uint8, 3), (np.float32, 1)):
        raise ValueError(f"{name}: arrays are images, uint8 (C, H, W), or points, float32 (D,)")
    return array
