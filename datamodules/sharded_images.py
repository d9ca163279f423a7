"""Images, or points, of shards in a folder, and what they are. Imports no Lightning."""

import re
import warnings
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.labels import Classes
from datamodules.pixel_values import MAX_PIXELS, Reading
from datamodules.remote import LocalFolder, RemoteFolder, is_remote
from datamodules.shard_index import INDEX, SUFFIXES, ShardIndex
from datamodules.shards import ShardImages, read_array
from datamodules.summary import Found, look_at_files
from lit_gen.files import user_cache


class ShardedImages:
    """What :class:`datamodules.StreamingDataModule`, whose arguments it takes, reads."""

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] | None = None,
        channels: Literal[1, 3] | None = None,
        renumber: bool | None = None,
        white: float | None = None,
        alpha: Literal["white", "drop"] = "white",
        max_pixels: int = MAX_PIXELS,
        labels: Literal["auto", "none"] = "auto",
        cache_folder: str | None = None,
        cache_gib: float | None = None,
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if size is not None and min(size) < 1:
            raise ValueError(f"image_size={image_size}: must be at least 1")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels={channels}: must be 1 (grey), 3 (RGB) or None")
        if labels not in ("auto", "none"):
            raise ValueError(f"labels={labels!r}: must be 'auto' or 'none'")
        if not is_remote(root) and (cache_folder is not None or cache_gib is not None):
            raise ValueError(
                f"cache_folder={cache_folder}, cache_gib={cache_gib}: copies are only kept of shards at a URL, and "
                f"root={root!r} is none"
            )
        if cache_gib is not None and not cache_gib > 0:
            raise ValueError(f"cache_gib={cache_gib}: must be above 0, or None")
        self.root = root
        self.folder: LocalFolder | RemoteFolder = LocalFolder(Path(root))
        if is_remote(root):
            most = None if cache_gib is None else int(cache_gib * 2**30)
            self.folder = RemoteFolder(root, user_cache(cache_folder, "shards"), most)
        self._labelled = labels != "none"
        self.renumber = renumber
        self.reading = Reading(white, alpha, max_pixels)
        self._size, self._channels = size, channels

    @cached_property
    def index(self) -> ShardIndex:
        """Where the images are."""
        return _index_of(self.folder) if isinstance(self.folder, RemoteFolder) else ShardIndex.of(self.folder.path)

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,): from the arguments, else from the first training sample."""
        first = self.index.split("train")
        if len(first) == 0:
            raise ValueError(f"root: no training image in {self.root!r}")
        pictures = ShardImages(self.folder, self.index, first[:1], torch.zeros(1), (), self.reading)
        if SUFFIXES[self.index.suffix[first[0]]] == "npy":
            return read_array(pictures.opened(0).read(), pictures.described(0)).shape
        header = pictures.header(0)
        height, width = self._size or header.size
        return (self._channels or (1 if header.grey else 3), height, width)

    @property
    def num_classes(self) -> int:
        """Number of classes, from the index; 0 without labels."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, from the index."""
        return self._classes.names

    @cached_property
    def _classes(self) -> Classes:
        labels = self.index.label
        without = np.flatnonzero(labels < 0)
        if not self._labelled or len(without) == len(labels):
            return Classes()
        if len(without):
            raise ValueError(
                f"root: {self.root}: {self.index.described(without[0])} has no label, as {len(without):,} of "
                f"{len(labels):,}, and the others have one; labels='none' drops them"
            )
        try:
            return Classes.of([labels], self.renumber, self.index.words.tolist())
        except ValueError as error:
            raise ValueError(f"root: {self.root}: {error}") from error

    @cached_property
    def datasets(self) -> dict[Split, BatchDataset]:
        """The splits, by the index; the images are read batch by batch."""
        rows = {split: self.index.split(split) for split in SPLITS}
        labels = {split: self._labels(mine) for split, mine in rows.items()}
        return {
            split: ShardImages(self.folder, self.index, mine, labels[split], self.image_shape, self.reading)
            for split, mine in rows.items()
        }

    def check_cache(self, window: int) -> None:
        """Refuse to keep fewer copies than a window reads from, each of which would be made again for every batch."""
        most = self.folder.most
        if most is None:
            return
        count, index = len(self.index.shards), self.index
        needed = min(count, -(-window * count // max(1, len(index.shard))) + 1) * int(index.sizes.max())
        if needed > most:
            raise ValueError(
                f"cache_gib={most / 2**30:g}: a window of {window:,} images reads from shards of "
                f"{needed / 2**30:.3g} GiB; keep as many, or give a smaller window"
            )

    def _labels(self, rows: np.ndarray) -> Tensor:
        if not self.class_names:
            return torch.zeros(len(rows), dtype=torch.int64)
        return self._classes.numbers(self.index.label[rows])

    def found(self, look: int | None) -> Found:
        """Sizes, channels and values of at most `look` images, all if None, and what is left out."""
        parts = [self.datasets[split] for split in SPLITS]
        folder = None if isinstance(self.folder, RemoteFolder) else self.folder.path
        found = look_at_files(parts, self.index.passed_over(folder), (), look)
        return found if self._channels is not None else replace(found, notes=(*found.notes, *self._greyed(found)))

    def _greyed(self, found: Found) -> list[str]:
        """What is lost where the first picture, whose channels are taken, is grey and others aren't."""
        coloured = sum(count for kind, count in found.channels.items() if "grey" not in kind and kind != "bilevel")
        if len(self.image_shape) != 3 or self.image_shape[0] != 1 or not coloured:
            return []
        looked = sum(found.channels.values())
        told = f"{coloured} of {looked} pictures looked at lose their colours"
        return [f"{told}, as the first is grey; channels=3 keeps them"]


def _index_of(folder: RemoteFolder) -> ShardIndex:
    """The index beside shards elsewhere; where there is none, one made of their headers, which copies each once."""
    own = folder.path / f"made-{INDEX}"
    made = ShardIndex.stored(own)
    try:
        copy = folder.newest(INDEX)
        sizes = folder.sizes(".tar") if copy is None else {}
    except ValueError as error:
        if made is None:
            raise
        warnings.warn(f"{error}; the index of an earlier run is taken, {own}", stacklevel=2)
        return made
    if copy is not None:
        return _checked(ShardIndex.stored(copy), folder)
    if made is None or not made.is_of(sizes):
        made = ShardIndex.made(folder.told, sizes, lambda name: folder.open(name, sizes[name]))
        made.write(own)
    return made


def _checked(index: ShardIndex | None, folder: RemoteFolder) -> ShardIndex:
    """An index from elsewhere, which may name no file outside of its folder."""
    if index is None:
        raise ValueError(f"root={folder.told!r}: {INDEX} is no index of shards")
    strange = [name for name in index.shards.tolist() if re.fullmatch(r"[^/\\]+\.tar", name) is None]
    if strange:
        raise ValueError(f"root={folder.told!r}: {INDEX} names {strange[0]!r}, which is no shard of the folder")
    return index
