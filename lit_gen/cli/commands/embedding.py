"""What commands share that take images to latents: their options, and the images with the model's labels."""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lit_gen.cli.commands.labels import labels_for
from lit_gen.cli.commands.sources import add_reading, read_source
from lit_gen.cli.words import CommandParser
from lit_gen.pretrained.loading import from_pretrained

Batch = tuple[Tensor, tuple[Tensor, ...], Tensor]
BATCH = 500  # images read at once


def add_embedding(command: CommandParser, models: str, named: bool = False) -> None:
    """Adds the options that say model and images.

    Args:
        command: The parser.
        models: What the model is of.
        named: Whether data may be named too, and their split left open, for a folder of all splits.
    """
    images = "a folder, .zip, shards or table of images, an .npz or .npy file, or a checkpoint (its data)"
    of_split = "of data with splits (test)"
    if named:
        images += "; to write a folder also digits, mnist, cifar10, or a class of datamodules"
        of_split = "of data with splits (of an .npz test, of a folder all)"
    command.add_argument("source", help=f"a checkpoint of {models}, a folder of save_pretrained, or a shipped name")
    command.add_argument("data", metavar="images", help=images)
    default = None if named else "test"
    command.add_argument("--split", default=default, choices=("train", "val", "test"), help=of_split)
    command.add_argument("--size", type=int, help="side to scale image files to (antialiased, centre crop)")
    command.add_argument("--values", default="uint8", choices=("uint8", "unit", "signed"), help="range of the images")
    add_reading(command)
    command.add_argument("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    command.add_argument("--device", default="cpu", help="where the network runs, e.g. cuda (cpu)")


def load(options: argparse.Namespace) -> Any:
    """The model without its training."""
    return from_pretrained(options.source, trusted=options.trust, device=options.device, training=False)


def read_for(module: Any, options: argparse.Namespace) -> Any:
    """The images that the options name, as `read_source` gives them.

    Raises:
        ValueError: for images of another shape than the model's.
    """
    data = read_source(options.data, options.split, options.values, options.size, (), options.alpha, options.white)
    if tuple(data.image_shape) != module.picture_shape:
        raise ValueError(f"{options.data}: images of shape {tuple(data.image_shape)}, not {module.picture_shape}")
    return data


def batches(data: Any, options: argparse.Namespace, own: Tensor | None = None) -> Iterator[Batch]:
    """Images in [-1, 1], the labels that the model takes beside them, and the data's own labels.

    Args:
        data: Of `read_for`.
        options: Of the command.
        own: The model's class of each class of the data, as of `labels_for`; None for a model that takes no labels.
    """
    dataset = data.dataset(options.split)
    for start in range(0, len(dataset), BATCH):
        images, labels = dataset.__getitems__(list(range(start, min(start + BATCH, len(dataset)))))
        yield data.to_float(images), () if own is None else (own[labels],), labels


def labelled(data: Any, module: Any, options: argparse.Namespace) -> Iterator[Batch]:
    """The batches with the labels that a conditional model takes.

    Raises:
        ValueError: at once, for a conditional model and data without its classes.
    """
    return batches(data, options, labels_for(module, data, options.data))


def joined(parts: list[Batch]) -> tuple[Tensor, Tensor | None, Tensor]:
    """All batches as one."""
    images, given, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat([y for (y,) in given]) if given[0] else None, torch.cat(labels)
