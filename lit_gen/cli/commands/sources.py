"""What ``lit-gen evaluate`` and ``encode`` read: images in folders, archives, shards, arrays; a checkpoint's data."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.array_images import ArrayImages
from datamodules.datasets import BatchDataset, InMemoryDataset
from datamodules.datasets import to_float as bytes_to_float
from datamodules.formats.axes import arranged
from datamodules.formats.containers import ACCEPTED, Member, is_array_file
from datamodules.formats.recognising import TOLD, Format, format_at
from datamodules.formats.records import RecordImages
from datamodules.image_files import EncodedImages, ImageFiles
from datamodules.image_tree import ImageTree
from datamodules.pixel_values import Reading
from datamodules.sharded_images import ShardedImages
from datamodules.summary import LOOKED, Found, Summary, class_counts, look_at_files, look_in_memory
from lit_gen.cli.commands.class_lists import Labels
from lit_gen.cli.words import note
from lit_gen.pretrained.stored import checkpoint_config
from lit_gen.pretrained.trust import build_data, permitted
from lit_gen.value_ranges import RANGES, to_signed

CHANNELS = (1, 3)


class Source:
    """Images that a pass reads, with the face of a data module.

    Args:
        dataset: uint8 or float images ``(N, C, H, W)``, or points ``(N, D)``, with labels.
        class_names: of the labels 0 to K − 1; empty without labels.
        to_float: turns images into the extractor's [-1, 1].
        values: what the stored numbers mean, as in `to_signed`; part of the protocol.
        resize: how files came to their size.
        path: where the images are.
        found: looks at as many of the images as it is told, for the summary.
        named: the class names are the data's own, be they numbers.
    """

    name = "images"

    def __init__(
        self,
        dataset: BatchDataset,
        class_names: Sequence[str],
        to_float: Callable[[Tensor], Tensor],
        values: str = "uint8",
        resize: str = "none",
        path: str = "",
        found: Callable[[int | None], Found] | None = None,
        named: bool = False,
    ) -> None:
        self._dataset, self.class_names, self.to_float = dataset, tuple(class_names), to_float
        self.values, self.resize, self.path, self.named = values, resize, path, named
        self.found = found or (lambda look: look_in_memory([dataset], look))

    @property
    def num_classes(self) -> int:
        """0 without labels."""
        return len(self.class_names)

    def dataset(self, split: str) -> BatchDataset:
        """The images, whatever the split is called."""
        return self._dataset

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` or ``(D,)``."""
        return tuple(self._dataset.__getitems__([0])[0].shape[1:])

    def summary(self, look: int | None = LOOKED) -> Summary:
        """What was found, as of a data module."""
        counts = class_counts(self._dataset, self.class_names)
        return Summary(self.path, {"all": len(self._dataset)}, self.image_shape, counts, self.found(look))


def add_reading(command: argparse.ArgumentParser) -> None:
    """Adds the options that say what image files mean."""
    command.add_argument(
        "--alpha",
        default="white",
        choices=("white", "drop"),
        help="transparent pixels of files: laid on white, or the alpha channel left out as pytorch-fid does (white)",
    )
    command.add_argument("--white", type=float, help="the stored value that becomes white (255, or 65535 of 16 bits)")


def read_source(
    path: str,
    split: str,
    values: str,
    size: int | None,
    trusted: Sequence[str] = (),
    alpha: str = "white",
    white: float | None = None,
) -> Any:
    """The images at a path, as a data module or a `Source`.

    Args:
        path: a folder or .zip of image files, whose sub-folders are the classes, or the splits with the classes; a
            folder of shards (.tar); a data set in one of the formats of `datamodules.formats.recognising`; a file of
            arrays (.npz, .h5, .mat, .pt, …) with images ``(N, H, W)``, or with channels last or second, or with points
            ``(N, D)``; or a checkpoint, for the data it has learned.
        split: of data that have splits.
        values: what float images mean: ``unit`` or ``signed``.
        size: side that image files of other sizes are scaled to; None refuses them. Arrays have to be of it.
        trusted: packages beside this library's whose data modules a checkpoint may name.
        alpha: what becomes of transparent pixels, as in `Reading`.
        white: the stored value of images that becomes white; None for the type's own.

    Raises:
        FileNotFoundError: nothing at the path.
        ValueError: no images, no such split, images of several sizes, or float images whose range is not stated.
    """
    reading = Reading(white, alpha)  # type: ignore[arg-type]
    if Path(path).is_dir() and next(Path(path).glob("*.tar"), None) is not None:
        return _shards(path, split, size, reading)
    if (kind := format_at(path)) is not None:
        return _records(kind, path, split, size, reading)
    if Path(path).is_dir() or (Path(path).is_file() and path.lower().endswith(".zip")):
        return _files(path, split, size, reading)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if path.endswith(".ckpt"):
        data = checkpoint_config(path, option="").get("data")
        if data is None:
            raise ValueError(f"{path}: doesn't say what data it was trained on; name them by a path")
        import datamodules  # whose modules are Lightning's

        try:
            found = build_data(data, datamodules.DataModule, ("datamodules", *trusted))
            return getattr(found, "pictures", found)  # of latents, the pictures that they encode
        except ValueError as error:
            hint = "" if permitted(data["class_path"], ("datamodules", *trusted)) else "; --trust its package"
            raise ValueError(f"{path}: its data: {error}{hint}") from None
    if is_array_file(path):
        arrays = _arrays(path, split, values, white)
        if size is not None and arrays.image_shape[1:] not in ((), (size, size)):
            height, width = arrays.image_shape[1:]
            raise ValueError(f"{path}: images of {height}x{width}, and --size {size} scales image files alone")
        return arrays
    raise ValueError(
        f"{path}: accepted are folders, .zip files and shards (.tar in a folder) of images, "
        f"{TOLD}, files of arrays ({ACCEPTED}), and checkpoints (.ckpt)"
    )


def labels_of(data: Any, path: str) -> Labels:
    """What the labels of a source or data module are called, and which occur."""
    names = tuple(data.class_names)
    labels = getattr(data.dataset(""), "labels", None) if isinstance(data, Source) else None
    occurring = tuple(labels.unique().tolist()) if names and isinstance(labels, Tensor) else None
    named = isinstance(data, Source) and data.named
    return Labels(path, names, named or names != tuple(map(str, range(len(names)))), occurring)


def tell(*sources: Any) -> None:
    """Says what was found in each, a line and one for each warning, beside the results."""
    for source in sources:
        summary = source.summary() if hasattr(source, "summary") else None
        for line in () if summary is None else (summary.line(), *(f"warning: {text}" for text in summary.warnings)):
            note(line)


def _files(path: str, split: str, size: int | None, reading: Reading) -> Source:
    tree = ImageTree(path)
    part: Any = split if tree.divided else "train"
    if part not in tree.parts:
        raise ValueError(f"{path}: no images of --split {split}; there are {', '.join(tree.parts)}")
    files = tree.parts[part][1]
    paths, labels = [tree.path(part, file) for file in files], tree.labels(part, files)
    dataset = ImageFiles(paths, labels, (3, 1, 1), reading, tree.archive)
    resize = _fit(dataset, path, size)

    def found(look: int | None) -> Found:
        return look_at_files([dataset], tree.left_out, tree.notes, look)

    return Source(dataset, tree.class_names, bytes_to_float, resize=resize, path=path, found=found, named=True)


def _records(kind: Format, path: str, split: str, size: int | None, reading: Reading) -> Source:
    collection = kind.open(path)
    part: Any = split if collection.divided else "train"
    if part not in collection.parts:
        raise ValueError(f"{path}: no images of --split {split}; there are {', '.join(collection.parts)}")
    rows = collection.parts[part]
    dataset = RecordImages(collection.records, rows, collection.labels[rows], (3, 1, 1), reading)
    resize = _fit(dataset, path, size)

    def found(look: int | None) -> Found:
        return look_at_files([dataset], collection.left_out, collection.notes, look)

    return Source(dataset, collection.class_names, bytes_to_float, resize=resize, path=path, found=found, named=True)


def _fit(dataset: EncodedImages, path: str, size: int | None) -> str:
    """Gives pictures the size that is asked for, or their own, and their channels; says how they come to it."""
    headers = [dataset.header(i) for i in range(len(dataset))]
    sizes, grey = {header.size for header in headers}, all(header.grey for header in headers)
    if size is None:
        _check_sizes(path, sizes)
    height, width = next(iter(sizes)) if size is None else (size, size)
    dataset.image_shape = (1 if grey else 3, height, width)
    return _resize(sizes, size)


def _shards(path: str, split: Any, size: int | None, reading: Reading) -> Source:
    read = partial(ShardedImages, path, image_size=size, white=reading.white, alpha=reading.alpha)
    data = read()
    dataset: Any = data.datasets[split]
    if len(dataset) == 0:
        raise ValueError(f"{path}: no images of --split {split} in the shards")
    headers = [dataset.header(i) for i in range(len(dataset))]
    sizes, grey = {header.size for header in headers}, all(header.grey for header in headers)
    if size is None:
        _check_sizes(path, sizes)
    resize = _resize(sizes, size)
    if all(header.kind != "array" for header in headers) and (dataset.image_shape[0] == 1) != grey:
        data = read(channels=1 if grey else 3)  # of all of them, as of files, not of the first in train
        dataset = data.datasets[split]
    return Source(dataset, data.class_names, bytes_to_float, resize=resize, path=path, found=data.found)


def _check_sizes(path: str, sizes: set[tuple[int, int]]) -> None:
    if len(sizes) > 1:
        told = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3])
        raise ValueError(f"{path}: images of {len(sizes)} sizes ({told}, …); state one to scale them to by --size")


def _resize(sizes: set[tuple[int, int]], size: int | None) -> str:
    whole = size is None or sizes == {(size, size)}
    return "none" if whole else f"bicubic antialiased to cover {size}x{size}, centre crop"


def _arrays(path: str, split: str, values: str, white: float | None) -> Source:
    data = ArrayImages(path, white=white)
    part: Any = split if data.file.divided else "train"
    if part not in data.file.splits:
        raise ValueError(
            f"{path} holds {', '.join(data.file.members)}: no images, x_{split} or {split}_images (--split {split})"
        )
    member, _ = data.file.splits[part]
    _check_array(path, member)
    if member.dtype.kind != "f" or len(member.shape) == 2 or white is not None:
        points = member.dtype.kind == "f" and len(member.shape) == 2
        told = "points" if points else "uint8"
        return Source(data.part(part), data.class_names, bytes_to_float, values=told, path=path, found=data.found)
    if values == "uint8":
        raise ValueError(f"{path}: {member.key} is {member.dtype}; state its range by --values unit or --values signed")
    array = data.file.array(member)
    notes = _check_range(f"{path}: {member.key}", float(array.min()), float(array.max()), values)
    array = arranged(array.transpose(data.axes(member)))
    array = array[:, None] if array.ndim == 3 else array
    dataset = InMemoryDataset(torch.from_numpy(array), data.labels(part))

    def found(look: int | None) -> Found:
        return replace(look_in_memory([dataset], look, white=1), left_out=data.left_out, notes=notes)

    to_float: Any = lambda x: to_signed(x, values)  # type: ignore[arg-type]  # noqa: E731
    return Source(dataset, data.class_names, to_float, values=values, path=path, found=found)


def _check_range(name: str, least: float, largest: float, values: str) -> tuple[str, ...]:
    """Refuses floats that lie more than a hundredth outside of their stated range; says what else is odd of them."""
    low, high = RANGES[values]
    slack = 0.01 * (high - low)
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise ValueError(f"{name} holds NaN or infinite values")
    if least < low - slack or largest > high + slack:
        raise ValueError(
            f"{name} holds values from {least:g} to {largest:g}, and --values {values} are from {low:g} to {high:g}"
        )
    if values == "signed" and least >= 0:
        return (f"{name} has no value below 0 (from {least:g} to {largest:g}); is it --values unit?",)
    return ()


def _check_array(path: str, member: Member) -> None:
    """Refuses arrays that are no images, from their header."""
    shape, name = member.shape, f"{path}: {member.key} {member.dtype} {member.shape}"
    if member.dtype.kind not in "fbiu" or 0 in shape or not shape:
        raise ValueError(f"{name}: images are uint8, uint16, bool or float, and at least one")
    of_matlab = len(shape) == 4 and shape[2] in CHANNELS and not (shape[1] in CHANNELS or shape[3] in CHANNELS)
    one_axis = of_matlab or (len(shape) == 4 and (shape[1] in CHANNELS) != (shape[3] in CHANNELS))
    if not (one_axis or len(shape) == 3 or (len(shape) == 2 and member.dtype.kind == "f")):
        raise ValueError(
            f"{name}: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, or points (N, D)"
        )
