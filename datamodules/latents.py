"""Latents or codes that ``lit-gen encode`` has written, for models of them."""

import os
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.latents_folder import LatentsFolder, Pictures
from datamodules.mapped import RandomEncoding
from datamodules.summary import LOOKED, Found, Summary
from lit_gen.encoded import CODES, FLIPPED, LATENTS, Encoded


class LatentDataModule(DataModule):
    """Latents or codes from a folder of ``lit-gen encode``.

    A batch is ``(latents, labels)``: of a folder of latents float32 (N, C, h, w), each channel brought to mean 0 and
    standard deviation 1 over the training images; of one of codes int64 (N, h, w), from 0 to ``num_codes`` − 1. The
    rows stay on the disk and are read as they are needed. The splits are those of the images.

    The folder's codec goes with them: a model that is trained on them decodes its samples by it, and scores compare
    those with the pictures of the held-out splits, which the folder keeps.

    Args:
        root: the folder.
        flip: take for each training image with probability one half the encoding of its mirror image; needs a folder
            that was written with ``--flip``.
        **kwargs: batch_size, num_workers, seed and the loader's options of `DataModule`.

    Attributes:
        encoded: by what codec, and how; see `lit_gen.encoded.Encoded`.

    Raises:
        FileNotFoundError: there is no such folder, or its codec is missing.
        ValueError: another folder, one whose codec has changed since, or flips that aren't there.
    """

    def __init__(self, root: str, flip: bool = False, **kwargs: Any):
        root = os.fspath(root)
        super().__init__(flip=flip, **kwargs)
        self.root = root
        self._folder = LatentsFolder(root)
        if flip and not self._folder.flipped:
            raise ValueError(f"flip=True: {root} holds no mirrored images; encode them with --flip")
        self.encoded: Encoded = self._folder.encoded
        self.name = f"{self.encoded.kind} of {self._folder.name}"

    @property
    def holds(self) -> str:
        """``latents`` or ``codes``."""
        return self.encoded.kind

    @property
    def bounded(self) -> bool:
        """Latents have no bounds."""
        return False

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, h, w) of an image's latents, or (h, w) of its codes."""
        return self.encoded.shape

    @property
    def num_codes(self) -> int:
        """Number of codes; 0 for latents."""
        return self.encoded.codes

    @property
    def num_classes(self) -> int:
        """Number of classes, or 0 without labels."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, those of the images."""
        return self._folder.class_names

    @cached_property
    def pictures(self) -> "Pictures":
        """The pictures of the held-out splits, with which decoded samples are compared."""
        return Pictures(self._folder)

    def read(self) -> dict[Split, BatchDataset]:
        """Opens the arrays."""
        name = LATENTS if self.holds == "latents" else CODES
        return {split: self._folder.dataset(split, name, self._prepared) for split in SPLITS}

    def found(self, look: int | None) -> Found:
        """Nothing beside the numbers."""
        return Found()

    def summary(self, look: int | None = LOOKED) -> Summary:
        """Numbers of latents and classes, and the codec."""
        encoded = self.encoded
        codec = f"{encoded.class_path.rpartition('.')[2]} {encoded.source} (sha256 {encoded.sha256[:12]})"
        return replace(super().summary(look), kind=encoded.kind, made_by=codec)

    def augmented(self, dataset: BatchDataset, seed: int) -> BatchDataset:
        """The encodings of the images or of their mirror images."""
        if not self.flip:
            return dataset
        mirrored = self._folder.dataset("train", FLIPPED, self._prepared)
        return RandomEncoding(dataset, mirrored, seed)

    def _prepared(self, rows: Tensor) -> Tensor:
        if self.holds == "codes":
            return rows.long()
        mean, std = (torch.tensor(x, dtype=torch.float32).view(-1, 1, 1) for x in (self.encoded.mean, self.encoded.std))
        return (rows.float() - mean) / std
