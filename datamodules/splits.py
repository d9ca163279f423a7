"""Which split a name says: one table for folders, shards and arrays."""

import re
from collections.abc import Iterable

from datamodules.datasets import SPLITS, Split

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "testset"),
}
_SPLITS: dict[str, Split] = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def split_named(name: str) -> Split | None:
    """The split that a whole name says, in whatever case; ``crash-test`` and ``test_1`` say none."""
    return _SPLITS.get(name.casefold())


def splits_named(names: Iterable[str], where: str) -> dict[Split, str]:
    """The name of each split among `names`, others left out.

    Raises:
        ValueError: two names of one split; `where` says where they are.
    """
    found: dict[Split, str] = {}
    for name in sorted(names):
        split = split_named(name)
        if split is not None and found.setdefault(split, name) != name:
            raise ValueError(f"{where}: {found[split]!r} and {name!r} both name the split {split}; rename or join them")
    return found


def split_in(name: str) -> Split | None:
    """The split that a word of a shard's name says: ``photos-Valid-0001.tar`` is of val.

    Raises:
        ValueError: words of several splits.
    """
    words = re.findall(r"[^\W\d_]+", name)
    said = set(map(split_named, words))
    found = [split for split in SPLITS if split in said]
    if len(found) > 1:
        raise ValueError(f"{name}: the name says several splits, {' and '.join(found)}")
    return found[0] if found else None
