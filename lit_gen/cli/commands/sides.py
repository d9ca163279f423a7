"""The two sides that ``lit-gen evaluate`` compares: images, a model's samples, or statistics."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_gen.cli.commands.class_lists import Labels
from lit_gen.cli.commands.sources import labels_of, read_source
from lit_gen.metrics.statistics import DAMAGE
from lit_gen.pretrained.loading import from_pretrained
from lit_gen.pretrained.shipped import list_pretrained
from lit_gen.pretrained.stored import is_repository


@dataclass(frozen=True)
class Side:
    """One of the two paths: what it leads to.

    Attributes:
        path: of the files, or the model's name.
        kind: ``images``, ``samples`` of a model, or ``statistics``.
        read: a `Source` or data module, a module, or nothing yet.
    """

    path: str
    kind: str
    read: Any = None

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """``(C, H, W)`` or ``(D,)``; None for statistics."""
        return None if self.read is None else tuple(getattr(self.read, "picture_shape", self.read.image_shape))

    def labels(self, trusted: list[str]) -> Labels:
        """Of images or samples."""
        if self.kind == "images":
            return labels_of(self.read, self.path)
        if not getattr(self.read, "conditional", False):
            return Labels(self.path)
        numbers = tuple(map(str, range(self.read.num_classes)))
        names = tuple(self.read.class_names)
        if names == numbers and len(stored := _names_in_checkpoint(self.path, trusted)) == len(numbers):
            names = stored
        return Labels(self.path, names, names != numbers, drawn=True)


def sides(options: argparse.Namespace) -> tuple[Side, Side]:
    """What the two paths lead to; images are listed, and none is read yet."""

    def side(path: str, values: str) -> Side:
        if is_statistics(path):
            return Side(path, "statistics")
        reading = (options.split, values, options.size, options.trust, options.alpha, options.white)
        return Side(path, "images", read_source(path, *reading))

    real = side(options.real, options.values[0])
    if is_model(options.generated):
        return real, Side(options.generated, "samples", load(options))
    return real, side(options.generated, options.values[-1])


def is_model(path: str) -> bool:
    """Whether samples are to be drawn: from a checkpoint, a folder of `save_pretrained` or a shipped model."""
    folder = Path(path)
    return (
        path.endswith(".ckpt")
        or (folder / "config.json").is_file()
        or (not folder.exists() and (path in list_pretrained() or is_repository(path)))
    )


def load(options: argparse.Namespace) -> Any:
    """The model to draw samples from."""
    model = from_pretrained(options.generated, trusted=options.trust)
    if not hasattr(model, "sample"):
        raise ValueError(f"{options.generated}: a {type(model).__name__} draws no samples")
    return model


def is_statistics(path: str) -> bool:
    """Whether a file holds the mean and covariance of features, and no images beside them."""
    if not path.endswith(".npz") or not Path(path).is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"mu", "sigma"} <= set(archive.files) and not {"arr_0", "images"} & set(archive.files)
    except DAMAGE as error:
        raise ValueError(f"{path}: truncated or damaged, not a readable .npz file ({error})") from None


def _names_in_checkpoint(path: str, trusted: list[str]) -> tuple[str, ...]:
    """Names of the classes of the data that a checkpoint says it has learned, if they are there."""
    if not path.endswith(".ckpt"):
        return ()
    try:
        return tuple(read_source(path, "train", "uint8", None, trusted).class_names)
    except (ValueError, OSError, ModuleNotFoundError):
        return ()
