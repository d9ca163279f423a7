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


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    text = (
        "Says what data hold in one line, warns of what is likely a mistake, and lists every file that can't be read."
    )
    command = CommandParser("check", text)
    add = command.add_argument
    add("data", help=f"a folder or .zip of images, a folder of shards (.tar), {TOLD}, a file of arrays ({ACCEPTED})")
    add("--image_size", type=int, help="side that pictures are to be scaled to (fit's choice); smaller ones are told")
    add("--channels", type=int, default=3, choices=(1, 3), help="of pictures (3)")
    add_reading(command)
    return command


def add_reading(command: argparse.ArgumentParser) -> None:
    """The options that say how what is at a path is read, which `data_at` takes."""
    add = command.add_argument
    add("--white", type=float, help="the stored value that becomes white")
    add("--alpha", default="white", choices=("white", "drop"), help="what becomes of transparent pixels (white)")
    add("--pages", default="first", choices=("first", "all"), help="of TIFF files with several (first)")
    add("--splits", default="auto", help="none takes folders named like splits as classes; or a file of splits (auto)")
    add("--labels", help="folders, none, or a file of labels, or the name of an array; found by default")
    add("--attributes", nargs="+", help="names of attributes that make the classes")
    add("--images", help="name of the array of images, with {} for the split's name")
    add("--max_pixels", type=int, default=MAX_PIXELS, help=f"larger pictures are refused ({MAX_PIXELS})")


def run(arguments: list[str]) -> None:
    """Read everything, and print what was found.

    Exits with status 1 if there is an error, after all of them are listed.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: data of no such kind, or whose layout is not clear.
    """
    options = parser().parse_args(arguments)
    data = data_at(options)
    summary = check(data)
    print(summary.line())
    for warning in summary.warnings:
        print(f"warning: {warning}")
    for error in summary.found.errors:
        print(f"error: {error}")
    errors, warnings = len(summary.found.errors), len(summary.warnings)
    print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    if errors:
        sys.exit(1)


def data_at(options: argparse.Namespace) -> datamodules.DataModule:
    """The data module that reads what is at the path.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: data of no such kind.
    """
    path = Path(options.data)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    whole: dict[str, Any] = {"val_share": 0, "test_share": 0}
    files: dict[str, Any] = {"white": options.white, "alpha": options.alpha, "max_pixels": options.max_pixels}
    name = data_module_at(options.data)
    if name is None:
        raise ValueError(
            f"{path}: accepted are folders and .zip files of images, folders of shards (.tar), {TOLD}, {ACCEPTED}"
        )
    cls = getattr(datamodules, name)
    if cls is datamodules.ArrayDataModule:
        keys = {name: getattr(options, name) for name in ("images", "labels", "white", "attributes")}
        keys["splits"] = "auto" if options.splits == "none" else options.splits
        return cls(str(path), **keys, **whole)
    if cls is datamodules.StreamingDataModule:
        return cls(str(path), options.image_size, options.channels, **files)
    if cls is datamodules.ImageFolderDataModule:
        files |= {name: getattr(options, name) for name in ("pages", "splits", "attributes")}
        files["labels"] = options.labels or "auto"
    read = partial(cls, str(path), channels=options.channels, **files, **whole)
    return read(image_size=options.image_size or fitting_side(read(), torch.accelerator.is_available()))
