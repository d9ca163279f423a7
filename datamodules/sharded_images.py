"""Images, or points, of shards in a folder, and what they are. Imports no Lightning."""

import io
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.decoding import read_header
from datamodules.labels import Classes
from datamodules.pixel_values import MAX_PIXELS, Reading
from datamodules.shard_index import SUFFIXES, ShardIndex
from datamodules.shards import ShardImages, read_array
from datamodules.summary import Found, look_at_files


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
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if size is not None and min(size) < 1:
            raise ValueError(f"image_size={image_size}: must be at least 1")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels={channels}: must be 1 (grey), 3 (RGB) or None")
        if labels not in ("auto", "none"):
            raise ValueError(f"labels={labels!r}: must be 'auto' or 'none'")
        self.root = root
        self._labelled = labels != "none"
        self.renumber = renumber
        self.reading = Reading(white, alpha, max_pixels)
        self._size, self._channels = size, channels

    @cached_property
    def index(self) -> ShardIndex:
        """Where the images are."""
        return ShardIndex.of(Path(self.root))

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,): from the arguments, else from the first training sample."""
        first = self.index.split("train")
        if len(first) == 0:
            raise ValueError(f"root: no training image in {self.root!r}")
        row = int(first[0])
        path = Path(self.root) / str(self.index.shards[self.index.shard[row]])
        with open(path, "rb") as file:
            file.seek(int(self.index.offset[row]))
            content = file.read(int(self.index.length[row]))
        if SUFFIXES[self.index.suffix[row]] == "npy":
            return read_array(content, f"{path}: its first array").shape
        header = read_header(io.BytesIO(content), f"{path}: its first image", self.reading)
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
            split: ShardImages(Path(self.root), self.index, mine, labels[split], self.image_shape, self.reading)
            for split, mine in rows.items()
        }

    def _labels(self, rows: np.ndarray) -> Tensor:
        if not self.class_names:
            return torch.zeros(len(rows), dtype=torch.int64)
        return self._classes.numbers(self.index.label[rows])

    def found(self, look: int | None) -> Found:
        """Sizes, channels and values of at most `look` images, all if None, and what is left out."""
        parts = [self.datasets[split] for split in SPLITS]
        found = look_at_files(parts, self.index.passed_over(Path(self.root)), (), look)
        return found if self._channels is not None else replace(found, notes=(*found.notes, *self._greyed(found)))

    def _greyed(self, found: Found) -> list[str]:
        """What is lost where the first picture, whose channels are taken, is grey and others aren't."""
        coloured = sum(count for kind, count in found.channels.items() if "grey" not in kind and kind != "bilevel")
        if len(self.image_shape) != 3 or self.image_shape[0] != 1 or not coloured:
            return []
        looked = sum(found.channels.values())
        told = f"{coloured} of {looked} pictures looked at lose their colours"
        return [f"{told}, as the first is grey; channels=3 keeps them"]
