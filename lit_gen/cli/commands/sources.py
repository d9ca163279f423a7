"""What ``lit-gen evaluate`` compares: folders of images, arrays, and the data of a checkpoint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import datamodules
from datamodules.datasets import BatchDataset, InMemoryDataset
from datamodules.image_files import ImageFiles, find_images, read_header
from lit_gen.metrics.inputs import to_signed
from lit_gen.metrics.statistics import DAMAGE
from lit_gen.pretrained.stored import checkpoint_config
from lit_gen.pretrained.trust import build_data, permitted

CHANNELS = (1, 3)
SPLIT_NAMES = ("x_{}", "{}_images")
LABEL_NAMES = {"images": "labels", "x_{}": "y_{}", "{}_images": "{}_labels"}


class Source:
    """Images that a pass reads, with the face of a data module.

    Args:
        dataset: uint8 or float images ``(N, C, H, W)``, or points ``(N, D)``, with labels.
        num_classes: 0 without labels.
        to_float: turns images into the extractor's [-1, 1].
        values: what the stored numbers mean, as in `to_signed`; part of the protocol.
        resize: how files came to their size.
    """

    name = "images"

    def __init__(
        self,
        dataset: BatchDataset,
        num_classes: int,
        to_float: Callable[[Tensor], Tensor],
        values: str = "uint8",
        resize: str = "none",
    ) -> None:
        self._dataset, self.num_classes, self.to_float = dataset, num_classes, to_float
        self.values, self.resize = values, resize

    def dataset(self, split: str) -> BatchDataset:
        """The images, whatever the split is called."""
        return self._dataset

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` or ``(D,)``."""
        return tuple(self._dataset.__getitems__([0])[0].shape[1:])


def read_source(path: str, split: str, values: str, size: int | None, trusted: Sequence[str] = ()) -> Any:
    """The images at a path, as a data module or a `Source`.

    Args:
        path: a folder of image files, whose sub-folders are the classes; an ``.npz`` or ``.npy`` of images
            ``(N, H, W)``, or with channels last or second, or of points ``(N, D)``; or a checkpoint, for the data it
            has learned.
        split: of an array file or checkpoint that has splits.
        values: what float images mean: ``unit`` or ``signed``.
        size: side that image files of other sizes are scaled to; None refuses them.
        trusted: packages beside this library's whose data modules a checkpoint may name.

    Raises:
        FileNotFoundError: nothing at the path.
        ValueError: no images, images of several sizes, or float images whose range is not stated.
    """
    if Path(path).is_dir():
        return _folder(path, size)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if path.endswith(".ckpt"):
        data = checkpoint_config(path, option="").get("data")
        if data is None:
            raise ValueError(f"{path}: doesn't say what data it was trained on; name them by a path")
        try:
            return build_data(data, datamodules.DataModule, ("datamodules", *trusted))
        except ValueError as error:
            hint = "" if permitted(data["class_path"], ("datamodules", *trusted)) else "; --trust its package"
            raise ValueError(f"{path}: its data: {error}{hint}") from None
    if path.endswith((".npz", ".npy")):
        return _arrays(path, split, values)
    raise ValueError(f"{path}: accepted are folders of images, .npz and .npy files, and checkpoints (.ckpt)")


def _folder(path: str, size: int | None) -> Source:
    root = Path(path)
    names = find_images(root)
    headers = {read_header(str(root / name), str(root / name)) for name in names}
    shapes, grey = {shape for shape, _ in headers}, all(grey for _, grey in headers)
    if size is None and len(shapes) > 1:
        told = ", ".join(f"{height}x{width}" for height, width in sorted(shapes)[:3])
        raise ValueError(f"{path}: images of {len(shapes)} sizes ({told}, …); state one to scale them to by --size")
    shape = (1 if grey else 3, *(next(iter(shapes)) if size is None else (size, size)))
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    labelled = len(folders) > 1 and all("/" in name for name in names)
    labels = torch.tensor([folders.index(name.split("/")[0]) if labelled else 0 for name in names])
    files = ImageFiles([str(root / name) for name in names], labels, shape)
    resize = "none" if shapes == {shape[1:]} else f"bicubic antialiased to cover {size}x{size}, centre crop"
    return Source(files, len(folders) if labelled else 0, datamodules.DataModule.to_float, resize=resize)


def _arrays(path: str, split: str, values: str) -> Source:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"images": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except DAMAGE as error:
        raise ValueError(f"{path}: not a readable .npz or .npy file ({error})") from None
    names = {form.format(split): form for form in ("images", *SPLIT_NAMES)}
    name = next((name for name in names if name in arrays), next(iter(arrays)) if len(arrays) == 1 else None)
    if name is None:
        raise ValueError(f"{path} holds {', '.join(arrays)}: no images, x_{split} or {split}_images (--split {split})")
    images = torch.from_numpy(_channels_first(path, name, arrays[name]))
    given = arrays.get(LABEL_NAMES[names[name]].format(split)) if name in names else None
    if given is not None and given.dtype.kind not in "iu":
        raise ValueError(f"{path}: {LABEL_NAMES[names[name]].format(split)} {given.dtype}: labels are whole numbers")
    labels = None if given is None else torch.from_numpy(given.astype(np.int64).reshape(-1))
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{path}: {len(labels)} labels for {len(images)} images")
    num_classes = 0 if labels is None or len(labels) == 0 else int(labels.max()) + 1
    dataset = InMemoryDataset(images, labels)
    if images.ndim == 2:
        return Source(dataset, num_classes, lambda points: points.float(), values="points")
    if images.dtype == torch.uint8:
        return Source(dataset, num_classes, datamodules.DataModule.to_float)
    if values == "uint8":
        raise ValueError(f"{path}: {name} is {arrays[name].dtype}; state its range by --values unit or --values signed")
    return Source(dataset, num_classes, lambda x: to_signed(x, values), values=values)  # type: ignore[arg-type]


def _channels_first(path: str, name: str, array: np.ndarray) -> np.ndarray:
    if array.size == 0 or array.ndim == 0 or (array.dtype.kind != "f" and array.dtype != np.uint8):
        raise ValueError(f"{path}: {name} {array.dtype} {array.shape}: images are uint8 or float, and at least one")
    if array.ndim == 2 and array.dtype.kind == "f":
        return array
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and (array.shape[1] in CHANNELS) != (array.shape[3] in CHANNELS):
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.shape[3] in CHANNELS else array
    raise ValueError(
        f"{path}: {name} {array.shape}: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, or "
        "points (N, D)"
    )
