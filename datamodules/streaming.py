"""Images from shards, for data sets that are too many files or too large for memory."""

import os
from pathlib import Path
from typing import Any, Literal

from datamodules.base import DataModule
from datamodules.datasets import BatchDataset, Split
from datamodules.loader import WindowSampler
from datamodules.pixel_values import MAX_PIXELS
from datamodules.shard_index import ShardIndex
from datamodules.sharded_images import ShardedImages
from datamodules.summary import Found


class StreamingDataModule(DataModule):
    """Images, or points, from tar files of the WebDataset format in a folder.

    What is on disk, uncompressed: ``root/train-000000.tar``, …, ``root/val-000000.tar``, …, ``root/test-000000.tar``, …
    The splits are said by a word of the names, as those of `ImageFolderDataModule`'s folders; where none says train,
    files that say nothing are training images, and a split without files is empty. In them ``a.png`` (or another
    format, or npy) with ``a.cls``, a number from 0, or ``a.json`` with a ``label``, a number or a word, is one sample;
    other members are counted and passed over. ``lit-gen convert SOURCE TARGET --to shards`` writes such a folder,
    with an ``index.npz`` of where the images begin; without a current one the headers are read at the start, which
    takes a minute or so for a million.

    A root may be a URL: ``https://…``, or ``hf://datasets/OWNER/NAME``, ``s3://…`` and others for which `fsspec` finds
    its package. Each shard is copied when it is first needed, its size and checksum compared with the index.
    Without an index there the folder is listed, and all shards are copied once to read their headers.

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
        labels: ``auto``, or ``none`` for no labels, where only some samples have one.
        cache_folder: where copies of shards at a URL are kept; by default a folder in ``XDG_CACHE_HOME`` or
            ``~/.cache``.
        cache_gib: how many GiB of copies are kept, those that were used last; None for all.
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
        labels: Literal["auto", "none"] = "auto",
        cache_folder: str | None = None,
        cache_gib: float | None = None,
        **kwargs: Any,
    ):
        root = os.fspath(root)
        super().__init__(**kwargs)
        if window < 1:
            raise ValueError(f"window={window}: must be at least 1")
        pictures = (image_size, channels, renumber, white, alpha, max_pixels, labels)
        self._shards = ShardedImages(root, *pictures, cache_folder, cache_gib)
        self.root, self.reading = root, self._shards.reading
        self.name = Path(root).resolve().name
        self.window = window

    @property
    def index(self) -> ShardIndex:
        """Where the images are."""
        return self._shards.index

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,): from the arguments, else from the first training sample."""
        return self._shards.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes, from the index; 0 without labels."""
        return self._shards.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, from the index."""
        return self._shards.class_names

    def read(self) -> dict[Split, BatchDataset]:
        """Divides the index; the images are read batch by batch.

        Raises:
            ValueError: the copies that are kept of shards at a URL don't hold a window.
        """
        self._shards.check_cache(self.window)
        return self._shards.datasets

    def found(self, look: int | None) -> Found:
        """Sizes, channels and values of at most `look` images, all if None, and what is left out."""
        return self._shards.found(look)

    def order(self, dataset: Any, rank: int, world_size: int, seed: int) -> WindowSampler:
        """Shards at random, images at random within windows."""
        place = {"batch_size": self.batch_size, "rank": rank, "world_size": world_size, "seed": seed}
        return WindowSampler(dataset, self.window, **place)
