"""Images or points of one .npz or .npy file, and what they are. Imports no Lightning."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.array_file import ArrayFile, Member
from datamodules.datasets import BatchDataset, InMemoryDataset, Split, check_shares, split_sizes
from datamodules.decoding import to_bytes
from datamodules.labels import Classes, listed_labels, plain_labels
from datamodules.summary import Found

CHANNELS = (1, 3, 4)
WHITE: dict[Any, float] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.bool_): 1}  # by type
CHUNK = 1024  # images that are converted at once


class ArrayImages:
    """What :class:`datamodules.ArrayDataModule`, whose arguments it takes, reads."""

    def __init__(
        self,
        path: str,
        layout: Literal["auto", "NHWC", "NCHW"] = "auto",
        val_share: float = 0.1,
        test_share: float = 0.1,
        ending: str = "",
        images: str | None = None,
        labels: str | None = None,
        renumber: bool | None = None,
        white: float | None = None,
    ) -> None:
        if layout not in ("auto", "NHWC", "NCHW"):
            raise ValueError(f"layout={layout!r}: must be 'auto', 'NHWC' or 'NCHW'")
        if white is not None and not 0 < white < float("inf"):
            raise ValueError(f"white={white}: must be above 0, the stored value that becomes white")
        check_shares(val_share, test_share)
        self.name = Path(path).stem + ending
        self.path = path
        self.ending = ending
        self.layout = layout
        self.val_share = val_share
        self.test_share = test_share
        self.keys = (images, labels)
        self.renumber = renumber
        self.white = white
        self._range: dict[Member, tuple[float, float]] = {}

    @cached_property
    def file(self) -> ArrayFile:
        """The file's headers; the arrays are read later."""
        images, labels = self.keys
        return ArrayFile(self.path, self.ending, images, None if self._label_file else labels)

    @property
    def _label_file(self) -> str | None:
        labels = self.keys[1]
        return labels if labels is not None and labels.endswith((".npy", ".csv", ".json")) else None

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
        """Number of classes, or 0 without labels; reads the labels, not the images."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes: those of the file, else the labels; reads the labels, not the images."""
        return self._classes.names

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the arrays as (N, C, H, W) or (N, D); takes splits that the file doesn't have from train.

        Raises:
            ValueError: no training images, points that are not finite, values above white, labels that don't fit, or
                too few images to divide.
        """
        if "train" not in self.file.splits:
            raise ValueError(f"{self.path} holds {', '.join(self.file.members)}, and no images to train on")
        given: dict[Split, Any] = {split: self.part(split) for split in self.file.splits}
        whole = given.pop("train")
        val_share = 0 if "val" in given else self.val_share
        test_share = 0 if "test" in given else self.test_share
        sizes = split_sizes(len(whole), val_share, test_share, self.path)
        if sizes[0] == len(whole):
            nothing = InMemoryDataset(whole.images[:0])
            return {"train": whole, "val": nothing, "test": nothing, **given}
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(whole)))
        rows = [part.sort().values for part in order.split(sizes)]
        train, val, test = (InMemoryDataset(whole.images, whole.labels, part) for part in rows)
        return {"train": train, "val": val, "test": test, **given}

    def part(self, split: Split) -> InMemoryDataset:
        """A split that the file has, whole; train if its names say none."""
        return InMemoryDataset(self._images(self.file.splits[split][0]), self.labels(split))

    def labels(self, split: Split) -> Tensor | None:
        """Class of each image of such a split, or None without labels."""
        raw = self._raw_labels[split]
        return None if raw is None else self._classes.numbers(raw)

    @property
    def left_out(self) -> dict[str, int]:
        """Arrays that are not used."""
        return {f"array {key!r}": 1 for key in self.file.left_out}

    def found(self, look: int | None) -> Found:
        """The range of all stored values, and the arrays that are not used."""
        del look
        if not self._range:
            return Found(left_out=self.left_out)
        lows, highs = zip(*self._range.values(), strict=True)
        white = max(self._white(images) for images in self._range)
        looked = sum(images.shape[0] for images in self._range)
        return Found(values=(min(lows), max(highs), white), looked=looked, left_out=self.left_out)

    def _item_shape(self, member: Member) -> tuple[int, ...]:
        shape, known = member.shape, member.dtype.newbyteorder("=") in WHITE or self.white is not None
        if member.dtype.kind == "f" and len(shape) == 2:
            if self.white is not None:
                raise ValueError(f"white={self.white}: {self.path}: {member} are points, which have no white")
            return shape[1:]
        if member.dtype.kind in "biuf" and known and len(shape) == 3:
            return (1, *shape[1:])
        if member.dtype.kind in "biuf" and known and len(shape) == 4:
            return (shape[3], *shape[1:3]) if self._channels_last(member) else shape[1:]
        raise ValueError(
            f"{self.path}: {member} is neither images, uint8, uint16 or bool (N, H, W), (N, H, W, C) or (N, C, H, W), "
            "or of another type with white=..., nor points, float (N, D)"
        )

    def _white(self, member: Member) -> float:
        return WHITE[member.dtype.newbyteorder("=")] if self.white is None else self.white

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
            return self._points(member, array)
        self._range[member] = (float(array.min()), float(array.max()))
        images = np.ascontiguousarray(self._as_bytes(member, array))
        if images.ndim == 4 and self._channels_last(member):
            _channels_first(images)
        return torch.from_numpy(images.reshape(len(images), *shape))

    def _as_bytes(self, member: Member, array: np.ndarray) -> np.ndarray:
        """The stored values as uint8, a part at a time: else there would be a third array beside the two."""
        white = self._white(member)
        low, high = self._range[member]
        if not (low >= 0 and high <= white):
            raise ValueError(f"{self.path}: {member} holds values {low:g}..{high:g}, outside 0..{white:g} (white)")
        if array.dtype == np.uint8 and white == 255:
            return array
        images = np.empty(array.shape, dtype=np.uint8)
        for start in range(0, len(array), CHUNK):
            images[start : start + CHUNK] = to_bytes(array[start : start + CHUNK], white)
        return images

    def _points(self, member: Member, array: np.ndarray) -> Tensor:
        with np.errstate(over="ignore"):  # an overflow is reported as infinite, below
            points = array.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{self.path}: {member} must be finite, but row {bad[0]} is {array[bad[0]].tolist()} "
                f"({len(bad)} such rows)"
            )
        return torch.from_numpy(points)

    @cached_property
    def _classes(self) -> Classes:
        labels = [raw for raw in self._raw_labels.values() if raw is not None]
        names = [] if self.file.names is None else self.file.array(self.file.names).ravel().tolist()
        told = [label for _, label in self.file.splits.values() if label is not None and not self._label_file]
        columns = max((label.shape[1] for label in told if len(label.shape) == 2 and label.shape[1] > 1), default=0)
        try:
            return Classes.of(labels, self.renumber, names, columns) if labels else Classes()
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    @cached_property
    def _raw_labels(self) -> dict[Split, np.ndarray | None]:
        if self._label_file:
            (split, (images, _)), *more = self.file.splits.items()
            if more:
                raise ValueError(
                    f"labels={self._label_file!r}: {self.path} has splits, which one file can't tell apart"
                )
            return {split: listed_labels(self._label_file, images.shape[0])}
        return {
            split: None
            if labels is None
            else plain_labels(self.file.array(labels), images.shape[0], f"{self.path}: {labels}", f"of {images}")
            for split, (images, labels) in self.file.splits.items()
        }


def _channels_first(images: np.ndarray) -> None:
    """Puts each image's channels before its rows in the array's own memory, in place of a second one."""
    flat = images.reshape(len(images), -1)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        flat[start : start + CHUNK] = part.transpose(0, 3, 1, 2).reshape(len(part), -1)
