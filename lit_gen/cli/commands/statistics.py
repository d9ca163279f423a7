"""``lit-gen statistics``: statistics that another program has pickled, as .npz files."""

import argparse
from pathlib import Path

from lit_gen.cli.words import CommandParser
from lit_gen.metrics.pickled import read_pickled
from lit_gen.metrics.statistics import write_statistics


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    command = CommandParser("statistics", "Converts EDM2's pickled statistics to .npz; nothing that they name is run.")
    command.add_argument("file", help="a .pkl with mu and sigma by metric, such as fid and fd_dinov2")
    command.add_argument("--out", help="the folder to write NAME.METRIC.npz into; by default that of the file")
    return command


def run(arguments: list[str]) -> None:
    """Write a file for each metric.

    Raises:
        ValueError: a pickle that holds other things than statistics.
        FileNotFoundError: no such file.
    """
    options = parser().parse_args(arguments)
    source = Path(options.file)
    for metric, features in read_pickled(source).items():
        if not metric.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"{source}: {metric!r} is no name of a metric")
        path = Path(options.out or source.parent) / f"{source.stem}.{metric}.npz"
        write_statistics(path, features)
        count = f"{features.moments.count:,} images" if features.moments.count else "an unknown number of images"
        print(f"{path}: {len(features.moments.mean):,} features of {count}")
