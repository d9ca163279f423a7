"""What data modules of encoded pictures share: the shape they are brought to, how they are read, shares and cache."""

import os
from pathlib import Path
from typing import Any, Literal

from datamodules.base import DataModule
from datamodules.datasets import check_shares
from datamodules.decoding import picture_shape
from datamodules.image_cache import check_cache
from datamodules.pixel_values import MAX_PIXELS, Reading


class PicturesDataModule(DataModule):
    """Pictures of any sizes, decoded while training or from a cache; a concrete one says where they are.

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

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width), from the arguments."""
        return self._shape

    @property
    def num_classes(self) -> int:
        """Number of classes; lists the pictures and opens none."""
        return len(self.class_names)
