"""Data modules that a command without a Trainer names by a word, or makes of a path."""

import argparse
import inspect
from pathlib import Path
from typing import Any

import datamodules
from datamodules.formats.recognising import data_module_at
from datamodules.formats.vision_table import SETS
from lit_gen.cli.commands.sources import read_source
from lit_gen.cli.data_words import SHORT_NAMES, data_class, place_of, set_of_torchvision

NAMED = f"{', '.join(SHORT_NAMES)}, a set of torchvision such as SVHN, or a class of datamodules"
ACCEPTED = f"{', '.join(SHORT_NAMES)}, a set of torchvision such as SVHN, nor a class of datamodules"


def is_named(data: str) -> bool:
    """Whether it is a name of data, and no path."""
    return not Path(data).exists() and data_class(data) is not None


def named_data(options: argparse.Namespace) -> Any:
    """The data module that ``options.data`` names, made with the options that its class takes; None for a path.

    Args:
        options: with ``data``, ``root``, and, where the command has them, ``size``, ``channels``, ``white``, ``alpha``.

    Raises:
        ValueError: an option that the class doesn't take, or ``root`` beside a path.
        FileNotFoundError: neither a path nor a name.
    """
    cls: Any = data_class(options.data)
    if Path(options.data).exists() or cls is None:
        if options.root is not None:
            raise ValueError(f"--root {options.root}: only data that are named take it, and {options.data} is a path")
        if not Path(options.data).exists():
            raise FileNotFoundError(f"{options.data}: no such file or folder, and neither {ACCEPTED}")
        return None
    taken = inspect.signature(cls).parameters
    given = {place_of(cls): "root", "image_size": "size", "channels": "channels", "white": "white", "alpha": "alpha"}
    values = {key: getattr(options, name, None) for key, name in given.items()}
    if values["alpha"] == "white":  # what all do
        del values["alpha"]
    arguments = {key: value for key, value in values.items() if value is not None}
    for key in arguments.keys() - taken.keys():
        raise ValueError(f"--{given[key]} {arguments[key]}: {cls.__name__} takes none")
    if cls is datamodules.TorchvisionDataModule:
        if (spelled := set_of_torchvision(options.data)) is None:
            raise ValueError(f"{options.data}: say which set, by its name: {', '.join(SETS)}")
        arguments["name"] = spelled
    data: Any = cls(**arguments)
    data.prepare_data()
    return data


def divided_data(options: argparse.Namespace, image_shape: tuple[int, ...]) -> Any:
    """All splits of the data at the path ``options.data``, files at this size, divided as their data module does.

    Args:
        options: with ``data``, ``alpha``, ``white`` and ``trust``.
        image_shape: ``(C, H, W)`` that image files are brought to.

    Raises:
        ValueError: no images, or files that their data module refuses.
    """
    path, reading = options.data, {"alpha": options.alpha, "white": options.white}
    channels, *size = image_shape
    if path.endswith(".ckpt"):
        return read_source(path, "train", "uint8", None, options.trust)
    cls: Any = getattr(datamodules, data_module_at(path) or "ImageFolderDataModule")
    if cls is datamodules.ArrayDataModule:
        return cls(path, white=options.white)
    return cls(path, image_size=tuple(size), channels=channels, **reading)
