"""Pictures in LMDB, as LSUN keeps them."""

import os
from typing import Any, Literal

from datamodules.formats.environments import open_lmdb
from datamodules.formats.module import RecordsDataModule
from datamodules.formats.records import Collection
from datamodules.pixel_values import MAX_PIXELS


class LMDBDataModule(RecordsDataModule):
    """Encoded pictures in LMDB, one for each key, decoded while training.

    What is on disk: a folder with ``data.mdb``, or a data base in one file (.lmdb, .mdb); or a folder of several whose
    names say class and split, ``bedroom_train_lmdb``, ``bedroom_val_lmdb``, ``church_outdoor_train_lmdb``. There are
    labels if there are at least two classes. A split that isn't there is taken from train by its share, fixed whatever
    the seed. A value is a picture (jpg, webp, png, …); keys such as ``length`` that say how many there are, are left
    out. Where keys begin with a size (``256-00001``), `prefix` says which pictures are meant.

    Each process opens a data base once, for reading, without locks. The order of training is a permutation. Needs the
    extra ``lmdb``.

    Args:
        root: the data base, or the folder of several.
        image_size: side of the square images, or (height, width).
        channels: 3 for RGB, 1 for grey.
        val_share: share of images for validation where no name says val; 0 for none.
        test_share: share of images for the test split where no name says test; 0 for none.
        labels: ``auto``, or ``none`` for no labels.
        prefix: takes only the keys that begin so.
        cache: ``ram``, ``disk`` or ``none``, as in `ImageFolderDataModule`.
        cache_folder: where ``disk`` keeps its files.
        white: the stored value that becomes white; None for the type's own.
        alpha: transparent pixels are laid on ``white``, or the alpha channel is left out (``drop``).
        max_pixels: larger pictures are refused before they are unpacked.
        **kwargs: batch_size, num_workers, flip, seed and the loader's options of `DataModule`.
    """

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] = 64,
        channels: Literal[1, 3] = 3,
        val_share: float = 0.1,
        test_share: float = 0.1,
        labels: Literal["auto", "none"] = "auto",
        prefix: str = "",
        cache: Literal["none", "ram", "disk"] = "none",
        cache_folder: str | None = None,
        white: float | None = None,
        alpha: Literal["white", "drop"] = "white",
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ):
        root = os.fspath(root)
        pictures = (image_size, channels, val_share, test_share, cache, cache_folder, white, alpha, max_pixels)
        super().__init__(root, *pictures, **kwargs)
        if labels not in ("auto", "none"):
            raise ValueError(f"labels={labels!r}: must be 'auto' or 'none'")
        self.labels, self.prefix = labels, prefix

    def open(self) -> Collection:
        """Lists the keys."""
        return open_lmdb(self.root, self.labels, self.prefix)
