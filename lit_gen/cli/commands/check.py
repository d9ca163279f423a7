"""``lit-gen check``: what a folder, archive, array or shards of images hold, and every file that can't be read."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

import datamodules
from datamodules.checking import check
from datamodules.formats.containers import ACCEPTED
from datamodules.formats.recognising import TOLD, data_module_at
from datamodules.pixel_values import MAX_PIXELS
from lit_gen.cli.own_data import fitting_side
from lit_gen.cli.words import CommandParser

FILES = ("white", "alpha", "max_pixels")  # of pictures that are decoded, whatever they lie in
TAKEN: dict[str, dict[str, str]] = {  # by the data module: its arguments by the options that say how data are read
    "ImageFolderDataModule": {name: name for name in (*FILES, "pages", "splits", "labels", "attributes")},
    "HuggingFaceDataModule": {**{name: name for name in FILES}, "labels": "label_column", "images": "image_column"},
    "LMDBDataModule": {name: name for name in (*FILES, "labels")},
    "StreamingDataModule": {name: name for name in (*FILES, "labels")},
    "ArrayDataModule": {name: name for name in ("white", "splits", "labels", "attributes", "images")},
}
READING = (*FILES, "pages", "splits", "labels", "attributes", "images")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    text = (
        "Says what data hold in one line, warns of what is likely a mistake, and lists every file that can't be read."
    )
    command = CommandParser("check", text)
    add = command.add_argument
    add("data", help=f"a folder or .zip of images, a folder of shards (.tar), {TOLD}, a file of arrays ({ACCEPTED})")
    add("--image_size", type=int, help="side that pictures are to be scaled to (fit's choice); smaller ones are told")
    add("--channels", type=int, choices=(1, 3), help="of pictures (3)")
    add_reading(command)
    return command


def add_reading(command: argparse.ArgumentParser) -> None:
    """The options that say how what is at a path is read, which `data_at` takes."""
    add = command.add_argument
    add("--white", type=float, help="the stored value that becomes white")
    add("--alpha", choices=("white", "drop"), help="what becomes of transparent pixels of files (white)")
    add("--pages", choices=("first", "all"), help="of TIFF files with several (first)")
    add("--splits", help="none takes folders named like splits as classes; or a file of splits (auto)")
    add("--labels", help="folders, none, or a file of labels, or the name of an array or a column; found by default")
    add("--attributes", nargs="+", help="names of attributes that make the classes")
    add("--images", help="name of the array, with {} for the split's name, or of the column of images")
    add("--max_pixels", type=int, help=f"larger pictures are refused ({MAX_PIXELS})")


def said(options: argparse.Namespace) -> dict[str, Any]:
    """What the user says of how data are read, by the option's name without dashes."""
    return {name: value for name in READING if (value := getattr(options, name)) is not None}


def run(arguments: list[str]) -> None:
    """Read everything, and print what was found.

    Exits with status 1 if there is an error, after all of them are listed.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: data of no such kind, or whose layout is not clear.
    """
    options = parser().parse_args(arguments)
    data = data_at(options)
    if isinstance(data, datamodules.ArrayDataModule):
        _check_shape(data, options)
    summary = check(data)
    print(summary.line())
    divides = not isinstance(data, datamodules.StreamingDataModule)
    if divides and not any(len(data.dataset(split)) for split in ("val", "test")):
        print("undivided: fit keeps a tenth for validation and one for testing (--data.val_share, --data.test_share)")
    for warning in summary.warnings:
        print(f"warning: {warning}")
    for error in summary.found.errors:
        print(f"error: {error}")
    errors, warnings = len(summary.found.errors), len(summary.warnings)
    print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    if errors:
        sys.exit(1)


def _check_shape(data: datamodules.DataModule, options: argparse.Namespace) -> None:
    """Refuse a size, or channels, of which the images of an array aren't: they stay as they are."""
    shape, side = data.image_shape, options.image_size
    wrong = side is not None and (len(shape) != 3 or shape[1:] != (side, side))
    name, value = ("image_size", side) if wrong else ("channels", options.channels)
    if wrong or (value is not None and (len(shape) != 3 or shape[0] != value)):
        told = " x ".join(map(str, shape))
        raise ValueError(f"--{name} {value}: {options.data} is of shape {told}, and arrays are read as they are")


def data_at(options: argparse.Namespace) -> datamodules.DataModule:
    """The data module that reads what is at the path.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: data of no such kind, or an option that data of their kind don't take.
    """
    path = Path(options.data)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    whole: dict[str, Any] = {"val_share": 0, "test_share": 0}
    name = data_module_at(options.data)
    if name is None:
        raise ValueError(
            f"{path}: accepted are folders and .zip files of images, folders of shards (.tar), {TOLD}, {ACCEPTED}"
        )
    cls: Any = getattr(datamodules, name)
    channels: Any = options.channels or 3
    reading = {_argument(name, option, value, options.data): value for option, value in said(options).items()}
    if cls is datamodules.ArrayDataModule:
        return cls(str(path), **reading, **whole)
    if cls is datamodules.StreamingDataModule:
        return cls(str(path), options.image_size, channels, **reading)
    read = partial(cls, str(path), channels=channels, **reading, **whole)
    return read(image_size=options.image_size or fitting_side(read(), torch.accelerator.is_available()))


def _argument(data_module: str, option: str, value: Any, path: str) -> str:
    """The argument of a data module for an option.

    Raises:
        ValueError: it has none.
    """
    taken = TAKEN[data_module]
    if option not in taken:
        told = " ".join(map(str, value)) if isinstance(value, list) else value
        accepted = ", ".join(f"--{name}" for name in READING if name in taken)
        raise ValueError(f"--{option} {told}: {path} is read by {data_module}, which takes {accepted}")
    return taken[option]
