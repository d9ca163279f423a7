"""Images from shards, for data sets that are too many files or too large for memory."""

import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.decoding import MAX_PIXELS, Reading, read_header
from datamodules.labels import Classes
from datamodules.loader import ShuffledSampler
from datamodules.shard_index import SUFFIXES, ShardIndex
from datamodules.shards import ShardImages, read_array
from datamodules.summary import Found, look_at_files


class WindowSampler(ShuffledSampler):
    """An epoch that visits the shards in a random order, and shuffles the images within windows of it.

    So a process reads few shards at a time, forwards. The order is a function of (seed, epoch): the same for any
    number of processes and workers, and after any batch.

    Args:
        dataset: the shards' images.
        window: images of a window; that of the whole split is a plain permutation.
        **kwargs: of `ShuffledSampler`.
    """

    def __init__(self, dataset: ShardImages, window: int, **kwargs: Any):
        super().__init__(dataset, **kwargs)
        shard = dataset.index.shard[dataset.rows]
        self.bounds = np.flatnonzero(np.diff(shard)) + 1  # where a shard begins
        self.window = window

    def permutation(self, generator: np.random.Generator) -> np.ndarray:
        """Indices of all images, in the order of an epoch."""
        shards = np.split(np.arange(self.size), self.bounds)
        order = np.concatenate([shards[i] for i in generator.permutation(len(shards))])
        for start in range(0, self.size, self.window):
            generator.shuffle(order[start : start + self.window])
        return order


class StreamingDataModule(DataModule):
    """Images, or points, from tar files of the WebDataset format in a folder.

    What is on disk, uncompressed: ``root/train-000000.tar``, …, ``root/val-000000.tar``, …, ``root/test-000000.tar``, …
    The splits are said by a word of the names, as those of `ImageFolderDataModule`'s folders; where none says train,
    files that say nothing are training images, and a split without files is empty. In them ``a.png`` (or another
    format, or npy) with ``a.cls``, a number from 0, or ``a.json`` with a ``label``, a number or a word, is one sample;
    other members are counted and passed over. ``scripts/make_shards.py`` writes such a folder from any data module,
    with an ``index.npz`` of where the images begin; without a current one the headers are read at the start, which
    takes a minute or so for a million.

    The order is a function of (seed, epoch) and the same for any number of processes and workers; every process reads
    only its own images. A resumed run goes on in the middle of an epoch and reads nothing of what it leaves out.

    Pictures are scaled and cropped as by `ImageFolderDataModule`; arrays are uint8 (C, H, W) or float32 (D,).

    Args:
        root: the folder of shards.
        image_size: side of the square pictures, or (height, width); None takes the first one's.
        channels: 3 for RGB, 1 for grey; None takes the first picture's.
        window: images among which the order is random; shards follow each other at random as well. Larger ones mix
            better, smaller ones read from fewer shards at a time.
        renumber: make classes only of the numbers that occur, named by them; None does so where fewer than one number
            in ten occurs.
        white: the stored value of pictures that becomes white; None for the type's own.
        alpha: transparent pixels are laid on ``white``, or the alpha channel is left out (``drop``).
        max_pixels: larger pictures are refused before they are unpacked.
        **kwargs: batch_size, num_workers, flip, seed and the loader's options of `DataModule`.
    """

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] | None = None,
        channels: Literal[1, 3] | None = None,
        window: int = 10_000,
        renumber: bool | None = None,
        white: float | None = None,
        alpha: Literal["white", "drop"] = "white",
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ):
        root = os.fspath(root)
        super().__init__(**kwargs)
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if size is not None and min(size) < 1:
            raise ValueError(f"image_size={image_size}: must be at least 1")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels={channels}: must be 1 (grey), 3 (RGB) or None")
        if window < 1:
            raise ValueError(f"window={window}: must be at least 1")
        self.name = Path(root).resolve().name
        self.root = root
        self.window = window
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
        if len(labels) == 0 or labels.min() < 0:
            return Classes()
        try:
            return Classes.of([labels], self.renumber, self.index.words.tolist())
        except ValueError as error:
            raise ValueError(f"root: {self.root}: {error}") from error

    def read(self) -> dict[Split, BatchDataset]:
        """Divides the index; the images are read batch by batch."""
        rows = {split: self.index.split(split) for split in SPLITS}
        return {
            split: ShardImages(
                Path(self.root), self.index, rows[split], self._labels(rows[split]), self.image_shape, self.reading
            )
            for split in SPLITS
        }

    def _labels(self, rows: np.ndarray) -> Tensor:
        if not self.class_names:
            return torch.zeros(len(rows), dtype=torch.int64)
        return self._classes.numbers(self.index.label[rows])

    def found(self, look: int | None) -> Found:
        """Sizes, channels and values of at most `look` images, all if None, and what is left out."""
        return look_at_files(
            [self.dataset(split) for split in SPLITS], self.index.passed_over(Path(self.root)), (), look
        )

    def order(self, dataset: Any, rank: int, world_size: int, seed: int) -> WindowSampler:
        """Shards at random, images at random within windows."""
        place = {"batch_size": self.batch_size, "rank": rank, "world_size": world_size, "seed": seed}
        return WindowSampler(dataset, self.window, **place)
