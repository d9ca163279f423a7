"""Images or points from one .npz or .npy file."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.array_file import ArrayFile, Member
from datamodules.base import DataModule
from datamodules.datasets import BatchDataset, InMemoryDataset, Split, check_shares, split_sizes

CHANNELS = (1, 3, 4)


class ArrayDataModule(DataModule):
    """Images or points from a NumPy file, read without pickle.

    What the file may hold:
        * images: uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), values 0..255;
        * points: float (N, D), finite;
        * labels: integers from 0, (N,) or (N, 1); num_classes is the largest label + 1.

    Names inside an .npz: ``x_train``, ``y_train``, ``x_val``, ``y_val``, ``x_test``, ``y_test``; or
    ``train_images``, ``train_labels``, ``val_images``, ...; or ``train``, ``train_labels``, ``val``, ...; or
    ``images`` with ``labels``; or a single array of any name. Labels are optional. A split that the file doesn't
    have is taken from the training images by its share, with a fixed permutation, so that arrays sorted by class
    do no harm.

    Args:
        path: the .npz or .npy file.
        layout: order of the axes of 4-D images; auto finds the axis (last or second) of size 1, 3 or 4.
        val_share: share of images for validation if the file has no such split; 0 for none.
        test_share: share of images for the test split if the file has no such split; 0 for none.
        ending: takes only the arrays whose names end so, and reads their names without it: "A" for ``trainA`` and
            ``testA`` of a file that also holds ``trainB`` and ``testB``.
        **kwargs: batch_size, num_workers, flip and seed of `DataModule`.
    """

    def __init__(
        self,
        path: str,
        layout: Literal["auto", "NHWC", "NCHW"] = "auto",
        val_share: float = 0.1,
        test_share: float = 0.1,
        ending: str = "",
        **kwargs: Any,
    ):
        path = os.fspath(path)
        super().__init__(**kwargs)
        if layout not in ("auto", "NHWC", "NCHW"):
            raise ValueError(f"layout={layout!r}: must be 'auto', 'NHWC' or 'NCHW'")
        check_shares(val_share, test_share)
        self.name = Path(path).stem + ending
        self.path = path
        self.ending = ending
        self.layout = layout
        self.val_share = val_share
        self.test_share = test_share

    @cached_property
    def file(self) -> ArrayFile:
        """The file's headers; the arrays are read later."""
        return ArrayFile(self.path, self.ending)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,), from the headers.

        Raises:
            ValueError: an array is neither images nor points, its layout is not clear, or the splits differ.
        """
        shapes = {str(images): self._item_shape(images) for images, _ in self.file.splits.values()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{self.path}: the splits' images differ in shape: {', '.join(shapes)}")
        return next(iter(shapes.values()))

    @property
    def num_classes(self) -> int:
        """The largest label + 1, or 0 without labels; reads the labels, not the images."""
        largest = [int(labels.max()) for labels in self._labels.values() if labels is not None]
        return max(largest, default=-1) + 1

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the arrays as (N, C, H, W) or (N, D); takes splits that the file doesn't have from train.

        Raises:
            ValueError: points that are not finite, labels that don't fit, or too few images to divide.
        """
        given = {
            split: InMemoryDataset(self._images(images), self._labels[split])
            for split, (images, _) in self.file.splits.items()
        }
        whole = given.pop("train")
        val_share = 0 if "val" in given else self.val_share
        test_share = 0 if "test" in given else self.test_share
        sizes = split_sizes(len(whole), val_share, test_share, self.path)
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(whole)))
        parts = [part.sort().values for part in order.split(sizes)]
        train, val, test = (InMemoryDataset(whole.images[i], whole.labels[i]) for i in parts)
        return {"train": train, "val": val, "test": test, **given}

    def _item_shape(self, member: Member) -> tuple[int, ...]:
        shape = member.shape
        if member.dtype.kind == "f" and len(shape) == 2:
            return shape[1:]
        if member.dtype == np.uint8 and len(shape) == 3:
            return (1, *shape[1:])
        if member.dtype == np.uint8 and len(shape) == 4:
            return (shape[3], *shape[1:3]) if self._channels_last(member) else shape[1:]
        raise ValueError(
            f"{self.path}: {member} is neither images, uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), "
            "nor points, float (N, D)"
        )

    def _channels_last(self, member: Member) -> bool:
        if self.layout != "auto":
            return self.layout == "NHWC"
        last, second = member.shape[3] in CHANNELS, member.shape[1] in CHANNELS
        if last == second:
            raise ValueError(
                f"{self.path}: {member}: {'both' if last else 'neither'} of the last and the second axis "
                "could be the 1, 3 or 4 channels; say layout='NHWC' or layout='NCHW'"
            )
        return last

    def _images(self, member: Member) -> Tensor:
        shape, array = self._item_shape(member), self.file.array(member)
        if len(shape) == 1:
            with np.errstate(over="ignore"):  # an overflow is reported as infinite, below
                points = array.astype(np.float32)
            bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
            if len(bad):
                raise ValueError(
                    f"{self.path}: {member} must be finite, but row {bad[0]} is {array[bad[0]].tolist()} "
                    f"({len(bad)} such rows)"
                )
            return torch.from_numpy(points)
        images = torch.from_numpy(array)
        if images.ndim == 4 and self._channels_last(member):
            images = images.permute(0, 3, 1, 2)
        return images.reshape(len(images), *shape).contiguous()

    @cached_property
    def _labels(self) -> dict[Split, Tensor | None]:
        return {
            split: None if labels is None else self._read_labels(images, labels)
            for split, (images, labels) in self.file.splits.items()
        }

    def _read_labels(self, images: Member, member: Member) -> Tensor:
        count = images.shape[0]
        if member.dtype.kind not in "iu" or member.shape not in ((count,), (count, 1)):
            raise ValueError(f"{self.path}: {member} must be integer labels ({count},), one for each of {images}")
        labels = self.file.array(member).astype(np.int64).reshape(count)
        if labels.min() < 0:
            raise ValueError(f"{self.path}: {member} holds {labels.min()}; labels count from 0")
        return torch.from_numpy(labels)
