"""A file that says the split of each image, such as CelebA's ``list_eval_partition.txt``."""

import csv
from pathlib import Path

import torch
from torch import Tensor

from datamodules.datasets import SPLITS, Split
from datamodules.splits import split_named

NUMBERED: dict[str, Split] = {str(number): split for number, split in enumerate(SPLITS)}


def read_partition(content: bytes, path: str) -> dict[str, Split]:
    """The split of each file by its name.

    Args:
        content: of a .csv with a line of titles and two columns, or lines of a name and a split; a split is one of
            the names of splits, or 0 for train, 1 for val, 2 for test.
        path: its name.

    Raises:
        ValueError: another form, a split that isn't one, or a name with two splits.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
        rows = list(csv.reader(lines))[1:] if path.lower().endswith(".csv") else [line.split() for line in lines]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"splits={path!r}: not a readable file of splits: {error}") from error
    found: dict[str, Split] = {}
    for row in filter(None, rows):
        split = NUMBERED.get(row[-1].strip()) or split_named(row[-1].strip())
        if len(row) != 2 or split is None:
            raise ValueError(
                f"splits={path!r}: {' '.join(row)!r}; accepted are lines of a name and a split, which is train, val "
                "or test, or 0, 1 or 2 for these"
            )
        name = row[0].strip().replace("\\", "/")
        if found.setdefault(name, split) != split:
            raise ValueError(f"splits={path!r}: {name} is of the splits {found[name]} and {split}")
    if not found:
        raise ValueError(f"splits={path!r}: holds no splits")
    return found


def listed_partition(path: str, count: int) -> dict[Split, Tensor]:
    """Which images are of each split that the file names, in their order; at least train.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another number of images, none for training, or a file of another form.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"splits={path!r}: neither 'auto' nor a file")
    splits = list(read_partition(Path(path).read_bytes(), path).values())
    if len(splits) != count:
        raise ValueError(f"splits={path!r}: {len(splits):,} splits for {count:,} images")
    found = {
        split: torch.tensor([i for i, s in enumerate(splits) if s == split], dtype=torch.int64) for split in SPLITS
    }
    if not len(found["train"]):
        raise ValueError(f"splits={path!r}: no image is of train")
    return {split: rows for split, rows in found.items() if len(rows)}
