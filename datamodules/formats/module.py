"""The data module of encoded pictures that are kept by number: splits, labels, order and cache."""

from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.formats.records import Collection, RecordImages, Records
from datamodules.image_cache import Cached, PixelCache, in_memory, on_disk
from datamodules.loader import ShuffledSampler, WindowSampler
from datamodules.pictures import PicturesDataModule
from datamodules.pixel_values import DEFAULT, Reading
from datamodules.summary import Found, look_at_files
from lit_gen.files import user_cache


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


class RecordsDataModule(PicturesDataModule):
    """What data modules of encoded pictures share that are no files; a concrete one implements `open`."""

    @abstractmethod
    def open(self) -> Collection:
        """Lists the records; called once, and reads no picture."""

    @cached_property
    def collection(self) -> Collection:
        """The records and what they mean."""
        return self.open()

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
        return on_disk(stamps, self._shape, self.root, user_cache(self.cache_folder, "images"), self.reading)

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
        records.hold(dataset.pieces)  # type: ignore[attr-defined]  # of a split's records
        return WindowSampler(dataset, records.window, **place)
