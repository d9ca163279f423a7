"""Any folder or .zip of image files, decoded while training."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch

from datamodules.datasets import SPLITS, BatchDataset, Split, split_sizes
from datamodules.image_cache import CachedImageFiles, in_memory, on_disk
from datamodules.image_files import ImageFiles, file_stamp, pages_of
from datamodules.image_tree import ImageTree
from datamodules.pictures import PicturesDataModule
from datamodules.pixel_values import MAX_PIXELS
from datamodules.summary import Found, look_at_files
from lit_gen.files import user_cache


class ImageFolderDataModule(PicturesDataModule):
    """Images of any size under a folder, or in a .zip, at any depth: png, jpg, webp, bmp, ppm, tif, avif, gif.

    What is on disk:
        * ``root/cat/1.png``, ``root/dog/x/2.jpg``: the folders right under root are the classes, in sorted
          order, if there are at least two; an image beside them in root is an error. Without such folders the
          images have no labels.
        * ``root/train/...``, ``root/val/...``, ``root/test/...``: the splits, with the classes under each, in
          whatever case and also as training, trainset; valid, validation, dev, eval; testing, testset. A split
          without a folder is taken from train by its share. Other folders beside them are an error.
        * ``root/dataset.json``, as StyleGAN's and EDM's tools write it, in a folder or a .zip: it says the labels.
        * .npy files in the place of all pictures, as EDM's tool writes them: uint8 (C, H, W) of 1 or 3 channels and
          of `image_size`, as arrays are not scaled.

    The split by shares is fixed: images are ranked by a hash of their path below root. Hidden files and
    folders are passed over; files of other formats are counted in the run's line of what was found.

    Each image is turned upright (EXIF), scaled with antialiasing (bicubic) so that it just covers
    `image_size`, cropped at the centre, and converted to `channels`. Of animations the first frame is read.
    Files are decoded when a batch needs them, so `num_workers` above 0 is advisable, and at every access unless
    there is a cache.

    A cache holds the uint8 images of all splits, channels * height * width bytes each: 0.9 GB for 70,000 of
    3 x 64 x 64, 14 GB at 256, which is why there is none by default. Every image is decoded once, by whichever
    worker needs it first, and checked by its CRC-32 whenever it is read. Changed files are noticed when the
    data are read first, not during a run.

    Args:
        root: the folder, or the .zip.
        image_size: side of the square images, or (height, width).
        channels: 3 for RGB, 1 for grey.
        val_share: share of images for validation where no folder val is given; 0 for none.
        test_share: share of images for the test split where no folder test is given; 0 for none.
        follow_links: read what links lead to outside of root; they are refused otherwise.
        cache: ``ram`` keeps decoded images in shared memory, reserved at the start, until the run ends; each of
            several training processes keeps its own. ``disk`` keeps them in a file that later runs and other
            processes of this machine use, and that is made anew when a file below root changes. ``none``
            decodes at every access.
        cache_folder: where ``disk`` keeps its files; by default ``lit-gen/images`` in ``$XDG_CACHE_HOME`` or
            ``~/.cache``.
        splits: ``none`` takes folders named like splits as any others; or a file of a split for each image, below root
            or elsewhere, as CelebA's ``list_eval_partition.txt``.
        labels: ``folders``, ``none``, or a .csv or .json file of labels by file name, or a .txt as CelebA's
            ``list_attr_celeba.txt``, below root or elsewhere; ``auto`` takes a ``dataset.json`` if there is one, else
            folders.
        attributes: names of attributes that make the classes, where the file says several of an image: ``[Smiling]``
            makes the classes ``not Smiling`` and ``Smiling``, two of them make four.
        renumber: make classes only of the numbers that occur in a file of labels, named by them; None does so where
            fewer than one number in ten occurs.
        white: the stored value that becomes white, 4095 for 12 bits in 16-bit files, 1 for masks of 0 and 1; None for
            the type's own, 255 or 65,535. Larger values are an error.
        alpha: transparent pixels are laid on ``white``, or the alpha channel is left out (``drop``), as
            pytorch-fid and clean-fid do.
        pages: of TIFF files with several, ``first`` or ``all``, each of which is an image; those of one file stay in
            one split.
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
        follow_links: bool = False,
        cache: Literal["none", "ram", "disk"] = "none",
        cache_folder: str | None = None,
        splits: str = "auto",
        labels: str = "auto",
        renumber: bool | None = None,
        white: float | None = None,
        alpha: Literal["white", "drop"] = "white",
        pages: Literal["first", "all"] = "first",
        max_pixels: int = MAX_PIXELS,
        attributes: list[str] | str | None = None,
        **kwargs: Any,
    ):
        root = os.fspath(root)
        pictures = (image_size, channels, val_share, test_share, cache, cache_folder, white, alpha, max_pixels)
        super().__init__(root, *pictures, **kwargs)
        if pages not in ("first", "all"):
            raise ValueError(f"pages={pages!r}: must be 'first' or 'all'")
        self.pages = pages
        self._tree: dict[str, Any] = {
            "follow_links": follow_links,
            "splits": splits,
            "labels": labels,
            "renumber": renumber,
            "attributes": attributes,
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels; empty if the images have no labels."""
        return self.tree.class_names

    @property
    def classes(self) -> list[str]:
        """`class_names` as a list."""
        return list(self.class_names)

    @cached_property
    def tree(self) -> ImageTree:
        """What is below root, by name."""
        return ImageTree(self.root, **self._tree)

    def read(self) -> dict[Split, BatchDataset]:
        """Divides the list of files; they are decoded batch by batch.

        Raises:
            FileNotFoundError: root isn't there.
            ValueError: no image below root, or too few to divide; or no space for the cache.
        """
        parts: dict[Split, dict[str, Any]] = {}
        for split, (place, files) in self._divided().items():
            labels, pages = self.tree.labels(place, files), None
            paths: Iterable[str] = map(partial(self.tree.path, place), files)
            if self.pages == "all" or self.cache != "none":
                paths = list(paths)
            if self.pages == "all":
                counts = pages_of([*paths], self.tree.archive, self.reading)
                paths = [path for path, count in zip(paths, counts, strict=True) for _ in range(count)]
                labels = labels.repeat_interleave(torch.tensor(counts, dtype=torch.int64))
                pages = np.array([page for count in counts for page in range(count)], dtype=int)
            parts[split] = {"paths": paths, "labels": labels, "pages": pages}
        common: dict[str, Any] = {"reading": self.reading, "archive": self.tree.archive}
        made: dict[Split, BatchDataset] = (
            {split: ImageFiles(image_shape=self._shape, **common, **parts[split]) for split in SPLITS}
            if self.cache == "none"
            else self._cached(parts, common)
        )
        self.tree.pack()
        return made

    def _divided(self) -> dict[Split, tuple[Split, Sequence[str]]]:
        """The files of each split, and under which folder's split they lie."""
        given = {split: files for split, (_, files) in self.tree.parts.items()}
        if "train" not in given:
            raise ValueError(f"{self.root}: only the splits {', '.join(given)}, and no folder train to train on")
        val_share, test_share = (
            0.0 if split in given else share for split, share in (("val", self.val_share), ("test", self.test_share))
        )
        files = given["train"]
        _, val, test = split_sizes(len(files), val_share, test_share, self.root)
        ranked = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest()) if val + test else files
        cut: dict[Split, Sequence[str]] = {
            "val": ranked[:val],
            "test": ranked[val : val + test],
            "train": ranked[val + test :],
        }
        return {
            split: (split, given[split]) if split in given and split != "train" else ("train", sorted(cut[split]))
            for split in SPLITS
        }

    def _cached(self, parts: dict[Split, dict[str, Any]], common: dict[str, Any]) -> dict[Split, BatchDataset]:
        keys = {
            split: list(
                zip(part["paths"], [0] * len(part["paths"]) if part["pages"] is None else part["pages"], strict=True)
            )
            for split, part in parts.items()
        }
        every = sorted(key for listed in keys.values() for key in listed)  # the same whatever the shares
        if self.cache == "ram":
            cache = in_memory(len(every), self._shape)
        else:
            stamps = [
                f"{path.removeprefix(self.root).lstrip('/')}\0{file_stamp(path, self.tree.archive)}\0{page}"
                for path, page in every
            ]
            cache = on_disk(stamps, self._shape, self.root, user_cache(self.cache_folder, "images"), self.reading)
        slot = {key: i for i, key in enumerate(every)}
        return {
            split: CachedImageFiles(
                cache=cache, slots=np.array([slot[key] for key in keys[split]], int), **common, **parts[split]
            )
            for split in SPLITS
        }

    def found(self, look: int | None) -> Found:
        """Sizes, channels and values of at most `look` files, all if None, and what is left out."""
        return look_at_files([self.dataset(split) for split in SPLITS], self.tree.left_out, self.tree.notes, look)
