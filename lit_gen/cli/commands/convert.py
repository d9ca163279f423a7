"""``lit-gen convert``: pictures with labels and splits as a folder, a .zip, an .npz, shards or parquet."""

import argparse
import re
from pathlib import Path
from typing import Any

from datamodules import DataModule
from datamodules.conversion.checks import one_shape, stamp_of
from datamodules.conversion.pictures import Wanted
from datamodules.conversion.run import Conversion, Outcome
from datamodules.conversion.targets import KINDS, Kind
from datamodules.summary import printable
from lit_gen.cli.commands.check import READING, add_reading, data_at, said
from lit_gen.cli.commands.named_data import NAMED, is_named, named_data
from lit_gen.cli.words import CommandParser, Pace

SUFFIXES: dict[str, Kind] = {".zip": "zip", ".npz": "npz", ".parquet": "parquet"}


def parser() -> CommandParser:
    """The command's options."""
    text = (
        "Writes data in another form, with the same pixels, labels, names of classes and splits, and reads all of it "
        "again to compare. The same command goes on where it was killed."
    )
    command = CommandParser("convert", text)
    add = command.add_argument
    add("data", metavar="SOURCE", help=f"what check takes: files of pictures, shards, arrays, …; or {NAMED}")
    add("target", metavar="TARGET", help="a new NAME.zip, NAME.npz or NAME.parquet; else a new folder")
    add("--to", choices=KINDS, help="what TARGET becomes (by its suffix; without one a folder)")
    add("--image_size", type=_size, help="side, or HEIGHTxWIDTH, that pictures are scaled to (each keeps its own)")
    add("--crop", choices=("centre", "none"), help="what becomes of sides of another ratio; none: no picture is scaled")
    add("--channels", type=int, choices=(1, 3), help="1 for grey, 3 for RGB (each picture keeps its own)")
    add("--format", choices=("png", "webp", "jpg"), help="of all files, webp without loss (png for those that change)")
    add("--quality", type=int, help="of jpg (95)")
    add("--skip_unreadable", action="store_true", help="leave out what can't be read, and list it; else it is an error")
    add("--processes", type=int, default=1, help="that read and encode (1)")
    add("--images_per_shard", type=int, default=1000, help="or per row group of parquet (1000)")
    add_reading(command)
    add("--root", help="folder or file of data that are named")
    return command


def run(arguments: list[str]) -> None:
    """Convert, and say how many pictures were read, written and refused.

    Raises:
        FileNotFoundError: no such source.
        ValueError: options that don't go together, a target that exists or lies within the source, or a picture that
            can't be read.
        ModuleNotFoundError: parquet without pyarrow.
    """
    options = parser().parse_args(arguments)
    target, kind = Path(options.target), kind_of(options.target, options.to)
    wanted = _wanted(options, kind)
    _check_place(options.data, target)
    named = _named(options)
    data = named or data_at(_reading(options, options.data))
    conversion = Conversion(
        data,
        options.data if named else stamp_of(options.data),
        {name: getattr(options, name) for name in READING},
        target,
        kind,
        one_shape(data, wanted) if kind == "npz" else wanted,
        read_back=lambda path: data_at(_reading(parser().parse_args(["", ""]), str(path))),
        skip_unreadable=options.skip_unreadable,
        processes=options.processes,
        images_per_part=options.images_per_shard,
    )
    _tell(options.target, conversion.run(Pace("converted")))


def _named(options: argparse.Namespace) -> DataModule | None:
    """The data that a word names; None for a path."""
    place = {name: getattr(options, name) for name in ("data", "root", "white", "alpha")}
    if is_named(options.data) and (other := next((name for name in said(options) if name not in place), None)):
        raise ValueError(f"--{other}: for data at a path alone; {options.data}, which is named, takes none")
    found: DataModule | None = named_data(argparse.Namespace(**place))
    return found


def kind_of(target: str, to: Kind | None) -> Kind:
    """What the target becomes.

    Raises:
        ValueError: a suffix by which it would be read as something else.
    """
    suffix = Path(target).suffix.lower()
    said = SUFFIXES.get(suffix)
    if said is None and to in ("zip", "npz"):
        raise ValueError(f"--to {to}: {target} must end with .{to}, by which it is read")
    if said is not None and to not in (None, said):
        raise ValueError(f"--to {to}: {target} would be read as a {said}; give another name")
    return to or said or "folder"


def _wanted(options: argparse.Namespace, kind: Kind) -> Wanted:
    if (options.crop == "centre") > (options.image_size is not None):
        raise ValueError("--crop centre: to what size? say --image_size")
    if options.crop == "none" and options.image_size is not None:
        raise ValueError("--crop none: each picture keeps its size, so it doesn't go with --image_size")
    if kind == "npz" and options.format is not None:
        raise ValueError(f"--format {options.format}: an .npz holds pixels, no files")
    return Wanted(options.image_size, options.channels, options.format, options.quality)


def _check_place(source: str, target: Path) -> None:
    if Path(source).is_dir() and Path(source).resolve() in target.resolve().parents:
        raise ValueError(f"{target}: lies within {source}, which it would change")


def _reading(options: argparse.Namespace, path: str) -> argparse.Namespace:
    """The options by which ``check`` opens data."""
    side: Any = None if options.image_size is None else options.image_size[0]
    return argparse.Namespace(**{**vars(options), "data": path, "image_size": side})


def _size(text: str) -> tuple[int, int]:
    """``64`` or ``48x64``."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: a side such as 64, or HEIGHTxWIDTH such as 48x64")
    return int(found[1]), int(found[2] or found[1])


def _tell(target: str, outcome: Outcome) -> None:
    written = ", ".join(f"{split} {count:,}" for split, count in outcome.written.items())
    print(
        f"lit-gen: {target}: {outcome.read:,} read, {sum(outcome.written.values()):,} written ({written}), "
        f"{len(outcome.refused):,} refused; {outcome.stayed:,} with the bytes of the source; all read back and compared"
    )
    for reason in outcome.refused:
        print(f"refused: {printable(reason)}")
