"""Images or points of one file of arrays, and what they are. Imports no Lightning."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.array_file import ArrayFile
from datamodules.datasets import SPLITS, BatchDataset, InMemoryDataset, Split, check_shares, split_sizes
from datamodules.formats.attributes import Attributes
from datamodules.formats.axes import CHUNK, LAYOUTS, Layout, arranged, axes_of
from datamodules.formats.containers import Member
from datamodules.formats.partition import listed_partition
from datamodules.formats.row_images import RowImages
from datamodules.labels import Classes, is_label_file, listed_labels, plain_labels
from datamodules.pixel_values import to_bytes
from datamodules.summary import Found, spread

WHITE: dict[Any, float] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.bool_): 1}  # by type
SMALL = 1024  # images of a file that is read by rows, of which all are looked at
NONE = torch.zeros(0, dtype=torch.int64)
ArrayPart = InMemoryDataset | RowImages


class ArrayImages:
    """What :class:`datamodules.ArrayDataModule`, whose arguments it takes, reads."""

    def __init__(
        self,
        path: str,
        layout: Layout = "auto",
        val_share: float = 0.1,
        test_share: float = 0.1,
        ending: str = "",
        images: str | None = None,
        labels: str | None = None,
        renumber: bool | None = None,
        white: float | None = None,
        attributes: Sequence[str] | str | None = None,
        splits: str = "auto",
        lazy: bool = True,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout={layout!r}: must be one of {', '.join(LAYOUTS)}")
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
        self.attributes = Attributes.of(attributes)
        self.partition = splits
        self.lazy = lazy
        self._range: dict[Member, tuple[float, float]] = {}

    @cached_property
    def file(self) -> ArrayFile:
        """The file's headers; the arrays are read later."""
        images, labels = self.keys
        return ArrayFile(self.path, self.ending, images, None if self._label_file else labels)

    @property
    def _label_file(self) -> str | None:
        labels = self.keys[1]
        return labels if labels is not None and is_label_file(labels) else None

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
        given = self._given()
        whole = given.pop("train")
        val_share = 0 if "val" in given else self.val_share
        test_share = 0 if "test" in given else self.test_share
        sizes = split_sizes(len(whole), val_share, test_share, self.path)
        if sizes[0] == len(whole):
            return {"train": whole, **{split: given.get(split, whole.subset(NONE)) for split in SPLITS[1:]}}
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(whole)))
        train, val, test = (whole.subset(part.sort().values) for part in order.split(sizes))
        return {"train": train, "val": val, "test": test, **given}

    def _given(self) -> dict[Split, ArrayPart]:
        """The splits that names, or a file of splits, say."""
        if self.partition == "auto":
            return {split: self.part(split) for split in self.file.splits}
        if self.file.divided:
            raise ValueError(f"splits={self.partition!r}: the names in {self.path} say splits already")
        whole = self.part("train")
        return {split: whole.subset(rows) for split, rows in listed_partition(self.partition, len(whole)).items()}

    def part(self, split: Split) -> ArrayPart:
        """A split that the file has, whole; train if its names say none."""
        member, labels = self.file.splits[split][0], self.labels(split)
        if self.lazy and self.file.container.by_rows and len(self._item_shape(member)) == 3:
            return RowImages(self.file, member, self.axes(member), self._white(member), labels)
        return InMemoryDataset(self._images(member), labels)

    def labels(self, split: Split) -> Tensor | None:
        """Class of each image of such a split, or None without labels."""
        raw = self._raw_labels[split]
        return None if raw is None else self._classes.numbers(raw)

    @property
    def left_out(self) -> dict[str, int]:
        """Arrays that are not used."""
        return {f"array {key!r}": 1 for key in self.file.left_out}

    def found(self, look: int | None) -> Found:
        """The range of all stored values, of about `look` where they are read by rows, and what is not used.

        Raises:
            ValueError: values above white.
        """
        counts = {member: self.count(member) for member in self._range}
        for split in self.file.splits:
            part = self.part(split) if self.lazy and self.file.container.by_rows else None
            if isinstance(part, RowImages):
                counts[part.member], self._range[part.member] = self._look(part, look)
        notes = tuple(self.file.container.notes)
        if not self._range:
            return Found(left_out=self.left_out, notes=notes)
        lows, highs = zip(*self._range.values(), strict=True)
        white = max(self._white(images) for images in self._range)
        values = (min(lows), max(highs), white)
        return Found(values=values, looked=sum(counts.values()), left_out=self.left_out, notes=notes)

    def _look(self, part: RowImages, look: int | None) -> tuple[int, tuple[float, float]]:
        """How many images of an array that is read by rows were looked at, and the range of their values."""
        rows = torch.tensor(spread(len(part), None if len(part) <= SMALL else look))
        parts = [part.stored(some) for some in rows.split(CHUNK)]
        return len(rows), self._checked(part.member, parts)

    def axes(self, member: Member) -> tuple[int, ...]:
        """The stored axes of images or points in the order (N, C, H, W), (N, H, W) or (N, D).

        Raises:
            ValueError: the layout isn't clear.
        """
        labels = next((label for images, label in self.file.splits.values() if images is member), None)
        return axes_of(member, self.layout, None if labels is None else labels.shape[0], self.path)

    def count(self, member: Member) -> int:
        """Number of images or points of an array."""
        return member.shape[self.axes(member)[0]]

    def _item_shape(self, member: Member) -> tuple[int, ...]:
        size, known = len(member.shape), member.dtype.newbyteorder("=") in WHITE or self.white is not None
        points = member.dtype.kind == "f" and size == 2
        if points and self.white is not None:
            raise ValueError(f"white={self.white}: {self.path}: {member} are points, which have no white")
        if points or (member.dtype.kind in "biuf" and known and size in (3, 4)):
            shape = tuple(member.shape[axis] for axis in self.axes(member)[1:])
            return (1, *shape) if size == 3 else shape
        raise ValueError(
            f"{self.path}: {member} is neither images, uint8, uint16 or bool (N, H, W), (N, H, W, C) or (N, C, H, W), "
            "or of another type with white=..., nor points, float (N, D)"
        )

    def _white(self, member: Member) -> float:
        return WHITE[member.dtype.newbyteorder("=")] if self.white is None else self.white

    def _images(self, member: Member) -> Tensor:
        shape, array = self._item_shape(member), self.file.array(member)
        if len(shape) == 1:
            return self._points(member, array.transpose(self.axes(member)))
        self._range[member] = self._checked(member, [array])
        images = arranged(self._as_bytes(member, array.transpose(self.axes(member))))
        return torch.from_numpy(images.reshape(len(images), *shape))

    def _checked(self, member: Member, parts: Sequence[np.ndarray]) -> tuple[float, float]:
        """The range of stored values."""
        white = self._white(member)
        low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
        if not (low >= 0 and high <= white):
            raise ValueError(f"{self.path}: {member} holds values {low:g}..{high:g}, outside 0..{white:g} (white)")
        return low, high

    def _as_bytes(self, member: Member, stored: np.ndarray) -> np.ndarray:
        """The stored values as uint8, a part at a time: else there would be a third array beside the two."""
        white = self._white(member)
        if stored.dtype == np.uint8 and white == 255:
            return stored
        images = np.empty_like(stored, dtype=np.uint8)  # in the same order of memory
        for start in range(0, len(stored), CHUNK):
            images[start : start + CHUNK] = to_bytes(stored[start : start + CHUNK], white)
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
        if not labels:
            return Classes()
        names = self.attributes.class_names or self._known[1]
        told = [label for _, label in self.file.splits.values() if label is not None and not self._label_file]
        rows = [label.shape[1] for label in told if len(label.shape) == 2 and label.dtype.kind != "U"]
        least = len(names) if self.attributes.chosen or self._label_file else max(rows, default=0)
        try:
            return Classes.of(labels, self.renumber, names, least if least > 1 else 0)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    @property
    def _raw_labels(self) -> dict[Split, np.ndarray | None]:
        return self._known[0]

    @cached_property
    def _known(self) -> tuple[dict[Split, np.ndarray | None], Sequence[str]]:
        """The labels as they are read, and what classes or attributes are called if that is known."""
        if self._label_file:
            (split, (images, _)), *more = self.file.splits.items()
            if more:
                raise ValueError(
                    f"labels={self._label_file!r}: {self.path} has splits, which one file can't tell apart"
                )
            labels, names = listed_labels(self._label_file, self.count(images), self.attributes)
            return {split: labels}, names
        names = [] if self.file.names is None else self.file.array(self.file.names).ravel().tolist()
        if self.attributes.chosen and all(label is None for _, label in self.file.splits.values()):
            raise ValueError(f"{self.attributes}: {self.path} has no labels")
        return {split: self._labels_of(*pair, names) for split, pair in self.file.splits.items()}, names

    def _labels_of(self, images: Member, labels: Member | None, names: Sequence[str]) -> np.ndarray | None:
        if labels is None:
            return None
        what, array = f"{self.path}: {labels}", self.file.array(labels)
        return plain_labels(array, self.count(images), what, f"of {images}", self.attributes, names)
