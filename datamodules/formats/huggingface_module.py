"""Data sets of Hugging Face's: parquet files, folders of ``save_to_disk``, names on the Hub."""

import os
from typing import Any, Literal

from datamodules.formats.huggingface import open_huggingface
from datamodules.formats.module import RecordsDataModule
from datamodules.formats.records import Collection
from datamodules.pixel_values import MAX_PIXELS


class HuggingFaceDataModule(RecordsDataModule):
    """Pictures in the rows of parquet or Arrow files, decoded while training.

    What root may be:
        * a .parquet file, or a folder of them at any depth; a word of their names says the split
          (``train-00000-of-00002.parquet``), or the folder that they lie in (``train/0000.parquet``);
        * a folder that ``save_to_disk`` of the package datasets has written, of a data set or of its splits; an .arrow
          file;
        * ``owner/name`` on Hugging Face's Hub, where no such path exists: `datasets.load_dataset` downloads it into its
          own cache, whose files are read.

    A split may be called as a folder of `ImageFolderDataModule`; one that isn't there is taken from train by its share,
    fixed whatever the seed. Names of the classes come from the schema (``ClassLabel``). Pictures are struct<bytes,
    path> or binary; where bytes are null the file at the path is read, from the folder of its table if it is relative.

    Parquet is read row group by row group. A training order visits the row groups at random and is random within
    windows, by default of 10,000 images; it is a function of (seed, epoch), the same for any number of
    processes and workers. Each of several workers reads every row group. Arrow files are mapped into memory, and their
    order is a permutation. Needs the extra ``parquet``, and ``datasets`` for names on the Hub.

    Args:
        root: the file, folder or name.
        image_size: side of the square images, or (height, width).
        channels: 3 for RGB, 1 for grey.
        image_column: name of the column of pictures; None finds it.
        label_column: name of the column of labels, numbers or words; ``none`` for no labels; None finds it.
        val_share: share of images for validation where no file is of val; 0 for none.
        test_share: share of images for the test split where no file is of test; 0 for none.
        config: of the several that a data set of the Hub may have.
        window: of parquet: images among which the order is random. Every process that loads keeps the row groups of so
            many; None takes 10,000, but no more than 256 MiB hold.
        renumber: make classes only of the numbers that occur, named by them; None does so where fewer than one number
            in ten occurs and the schema names none.
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
        image_column: str | None = None,
        label_column: str | None = None,
        val_share: float = 0.1,
        test_share: float = 0.1,
        config: str | None = None,
        window: int | None = None,
        renumber: bool | None = None,
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
        if window is not None and window < 1:
            raise ValueError(f"window={window}: must be at least 1, or None")
        self._columns = (image_column, label_column, renumber, window, config)

    def open(self) -> Collection:
        """Lists the rows and reads the labels."""
        return open_huggingface(self.root, *self._columns)
