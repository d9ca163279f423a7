"""The data module of encoded pictures that are kept by number: splits, labels, order and cache."""

import os
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split, check_shares
from datamodules.decoding import picture_shape
from datamodules.formats.records import Collection, RecordImages, Records
from datamodules.image_cache import Cached, PixelCache, cache_folder, check_cache, in_memory, on_disk
from datamodules.loader import ShuffledSampler, WindowSampler
from datamodules.pixel_values import DEFAULT, MAX_PIXELS, Reading
from datamodules.summary import Found, look_at_files


class CachedRecordImages(Cached, RecordImages):
    """Records that are decoded when they are first asked for, and then come from a cache of all of them.

    Args:
        records: as in `RecordImages`.
        rows: as in `RecordImages`.
        labels: as in `RecordImages`.
        cache: holds every record at its number.
        reading: as in `RecordImages`.
    """

    def __init__(
        self, records: Records, rows: np.ndarray, labels: Tensor, cache: PixelCache, reading: Reading = DEFAULT
    ):
        channels, height, width = cache.pixels.shape[1:]
        super().__init__(records, rows, labels, (channels, height, width), reading)
        self.cache = cache
        self.slots = rows


class RecordsDataModule(DataModule):
    """What data modules of encoded pictures share that are no files; a concrete one implements `open`.

    Args:
        root: where they are.
        image_size: as in `ImageFolderDataModule`, and so all that follows.
        channels: 3 for RGB, 1 for grey.
        val_share: share of images for validation where no name says val.
        test_share: share of images for the test where no name says test.
        cache: ``none``, ``ram`` or ``disk``.
        cache_folder: where ``disk`` keeps its files.
        white: the stored value that becomes white.
        alpha: what becomes of transparent pixels.
        max_pixels: larger pictures are refused.
        **kwargs: of `DataModule`.
    """

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] = 64,
        channels: Literal[1, 3] = 3,
        val_share: float = 0.1,
        test_share: float = 0.1,
        cache: Literal["none", "ram", "disk"] = "none",
        cache_folder: str | None = None,
        white: float | None = None,
        alpha: Literal["white", "drop"] = "white",
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._shape = picture_shape(image_size, channels)
        check_cache(cache, cache_folder)
        check_shares(val_share, test_share)
        self.root = os.fspath(root)
        self.name = Path(self.root).resolve().name
        self.val_share, self.test_share = val_share, test_share
        self.cache, self.cache_folder = cache, cache_folder
        self.reading = Reading(white, alpha, max_pixels)

    @abstractmethod
    def open(self) -> Collection:
        """Lists the records; called once, and reads no picture."""

    @cached_property
    def collection(self) -> Collection:
        """The records and what they mean."""
        return self.open()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width), from the arguments."""
        return self._shape

    @property
    def num_classes(self) -> int:
        """Number of classes; lists the records and decodes none."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels; empty if the images have no labels."""
        return self.collection.class_names

    def read(self) -> dict[Split, BatchDataset]:
        """Divides the records; they are decoded batch by batch.

        Raises:
            FileNotFoundError: root isn't there.
            ValueError: no records, damaged ones, or too few to divide; or no space for the cache.
        """
        collection = self.collection
        parts = collection.split(self.val_share, self.test_share)
        place: dict[str, Any] = {"reading": self.reading}
        kind: Any = RecordImages
        if self.cache == "none":
            place["image_shape"] = self._shape
        else:
            kind, place["cache"] = CachedRecordImages, self._pixels(collection)
        return {
            split: kind(collection.records, rows, collection.labels[rows], **place) for split, rows in parts.items()
        }

    def _pixels(self, collection: Collection) -> PixelCache:
        count = len(collection.records)
        if self.cache == "ram":
            return in_memory(count, self._shape)
        stamps = [collection.records.stamp(record) for record in range(count)]
        return on_disk(stamps, self._shape, self.root, cache_folder(self.cache_folder), self.reading)

    def found(self, look: int | None) -> Found:
        """Sizes, channels and values of at most `look` images, all if None, and what is left out."""
        parts = [self.dataset(split) for split in SPLITS]
        return look_at_files(parts, self.collection.left_out, self.collection.notes, look)

    def order(self, dataset: BatchDataset, rank: int, world_size: int, seed: int) -> ShuffledSampler:
        """A permutation; of records that are read in pieces, pieces at random and images at random within windows."""
        records = self.collection.records
        if records.pieces is None:
            return super().order(dataset, rank, world_size, seed)
        place = {"batch_size": self.batch_size, "rank": rank, "world_size": world_size, "seed": seed}
        return WindowSampler(dataset, records.window, **place)
