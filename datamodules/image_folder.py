"""Any folder of image files, decoded while training."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split, check_shares, split_sizes
from datamodules.image_cache import CachedImageFiles, cache_folder, in_memory, on_disk
from datamodules.image_files import ImageFiles, find_images


class ImageFolderDataModule(DataModule):
    """Images of any size under a folder, at any depth: png, jpg, webp, bmp, ppm, tif.

    What is on disk:
        * ``root/cat/1.png``, ``root/dog/x/2.jpg``: the folders right under root are the classes, in sorted
          order, if there are at least two and no image lies in root itself; otherwise the images have no
          labels.
        * ``root/train/...``, ``root/val/...``, ``root/test/...``: if train is the only folder or has val or
          test beside it, these are the splits, with the classes under each. A split without a folder is taken
          from train by its share.

    The split by shares is fixed: images are ranked by a hash of their path below root. Hidden files and
    folders are passed over.

    Each image is turned upright (EXIF), scaled with antialiasing (bicubic) so that it just covers
    `image_size`, cropped at the centre, and converted to `channels`. Transparency is laid on white; 16-bit
    grey is scaled to 8 bits. Files are decoded when a batch needs them, so `num_workers` above 0 is
    advisable, and at every access unless there is a cache.

    A cache holds the uint8 images of all splits, channels * height * width bytes each: 0.9 GB for 70,000 of
    3 x 64 x 64, 14 GB at 256, which is why there is none by default. Every image is decoded once, by whichever
    worker needs it first, and checked by its CRC-32 whenever it is read. Changed files are noticed when the
    data are read first, not during a run.

    Args:
        root: the folder.
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
        **kwargs: batch_size, num_workers, flip and seed of `DataModule`.
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
        **kwargs: Any,
    ):
        root = os.fspath(root)
        super().__init__(**kwargs)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width) < 1:
            raise ValueError(f"image_size={image_size}: must be at least 1")
        if channels not in (1, 3):
            raise ValueError(f"channels={channels}: must be 1 (grey) or 3 (RGB)")
        if cache not in ("none", "ram", "disk"):
            raise ValueError(f"cache={cache!r}: must be 'none', 'ram' or 'disk'")
        if cache_folder is not None and cache != "disk":
            raise ValueError(f"cache_folder={cache_folder!r}: only cache='disk' has one, not cache={cache!r}")
        check_shares(val_share, test_share)
        self.name = Path(root).resolve().name
        self.root = root
        self.val_share = val_share
        self.test_share = test_share
        self.follow_links = follow_links
        self.cache = cache
        self.cache_folder = cache_folder
        self._shape = (int(channels), height, width)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width), from the arguments."""
        return self._shape

    @property
    def num_classes(self) -> int:
        """Number of class folders; lists the files and opens none."""
        return len(self.classes)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the class folders, in the order of their labels; empty if the images have no labels."""
        files = [file for _, listed in self._files.values() for file in listed]
        folders = sorted({file.split("/")[0] for file in files})
        return folders if len(folders) > 1 and all("/" in file for file in files) else []

    def read(self) -> dict[Split, BatchDataset]:
        """Divides the list of files; they are decoded batch by batch.

        Raises:
            FileNotFoundError: root isn't there.
            ValueError: no image below root, or too few to divide; or no space for the cache.
        """
        given = dict(self._files)
        folder, files = given.pop("train")
        val_share = 0 if "val" in given else self.val_share
        test_share = 0 if "test" in given else self.test_share
        _, val, test = split_sizes(len(files), val_share, test_share, self.root)
        ranked = sorted(files, key=lambda file: hashlib.sha256(file.encode()).digest())
        cut = {"val": ranked[:val], "test": ranked[val : val + test], "train": ranked[val + test :]}
        parts = {split: given.get(split, (folder, sorted(cut[split]))) for split in SPLITS}
        paths = {split: [os.path.join(below, file) for file in files] for split, (below, files) in parts.items()}
        labels = {split: self._labels(files) for split, (_, files) in parts.items()}
        if self.cache == "none":
            return {split: ImageFiles(paths[split], labels[split], self._shape) for split in SPLITS}
        every = sorted(path for listed in paths.values() for path in listed)  # the same whatever the shares
        if self.cache == "ram":
            cache = in_memory(len(every), self._shape)
        else:
            cache = on_disk(every, self._shape, self.root, cache_folder(self.cache_folder))
        slot = {path: i for i, path in enumerate(every)}
        return {
            split: CachedImageFiles(paths[split], labels[split], cache, np.array([slot[p] for p in paths[split]], int))
            for split in SPLITS
        }

    @cached_property
    def _files(self) -> dict[Split, tuple[str, list[str]]]:
        """Folder and relative paths of each split on disk; only train where root is not divided."""
        found = find_images(self.root, self.follow_links)
        folders = {file.partition("/")[0] for file in found if "/" in file}
        if "train" not in folders or not (folders == {"train"} or folders & {"val", "test"}):
            return {"train": (self.root, found)}
        return {
            split: (
                os.path.join(self.root, split),
                [file[len(split) + 1 :] for file in found if file.startswith(f"{split}/")],
            )
            for split in SPLITS
            if split in folders
        }

    def _labels(self, files: list[str]) -> Tensor:
        label = {name: i for i, name in enumerate(self.classes)}
        return torch.tensor([label.get(file.split("/")[0], 0) for file in files], dtype=torch.int64)
