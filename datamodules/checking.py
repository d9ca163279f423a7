"""Everything of a data set read once: what can't be, what occurs twice, what is too little."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset
from datamodules.summary import Summary, class_counts, listed, printable

FEW = 100  # training images
FEW_OF_CLASS = 10
TOLD = 10  # pairs of duplicates that a warning names


def check(data: DataModule) -> Summary:
    """What was found, after reading every image: all errors and warnings, none left for the middle of a run.

    Args:
        data: any data module. Its images are read one by one, so memory is that of one.

    Raises:
        ValueError: what makes the data no data set at all, such as folders that may be splits or classes.
    """
    summary = data.summary(look=None)
    datasets: dict[str, BatchDataset] = {split: data.dataset(split) for split in SPLITS}
    errors, pixels = [*summary.found.errors], _places(summary)
    if not errors and not pixels:  # what is in memory has not been decoded for the summary
        errors, pixels = _read_all(datasets)
    notes = [
        *summary.found.notes,
        *_few(summary, class_counts(datasets["train"], data.class_names)),
        *_twice(pixels, lambda split, i: _described(datasets[split], split, i)),
        *_small(summary),
    ]
    return replace(summary, found=replace(summary.found, notes=tuple(notes), errors=tuple(errors)))


def _places(summary: Summary) -> dict[int, list[tuple[str, int]]]:
    """The places (split, index) of images by a checksum of their pixels, as far as the summary has decoded them."""
    places: dict[int, list[tuple[str, int]]] = {}
    for number, i, checksum in summary.found.checksums:
        places.setdefault(checksum, []).append((SPLITS[number], i))
    return places


def _read_all(datasets: Mapping[str, BatchDataset]) -> tuple[list[str], dict[int, list[tuple[str, int]]]]:
    """What can't be read, a line each, and the places (split, index) of images by a checksum of their pixels."""
    errors: list[str] = []
    places: dict[int, list[tuple[str, int]]] = {}
    for split, dataset in datasets.items():
        for i in range(len(dataset)):
            try:
                image = dataset[i][0]
            except (ValueError, OSError) as error:
                errors.append(printable(" ".join(str(error).split())))
                continue
            places.setdefault(zlib.crc32(image.numpy().tobytes()), []).append((split, i))
    return errors, places


def _few(summary: Summary, counts: Mapping[str, int]) -> list[str]:
    notes, train = [], summary.images.get("train", 0)
    if train < FEW:
        notes.append(f"only {train} training images: a model of them learns them by heart")
    few = [f"{name} ({count})" for name, count in counts.items() if 0 < count < FEW_OF_CLASS]
    if few:
        notes.append(f"fewer than {FEW_OF_CLASS} training images of {listed(few)}")
    return notes


def _twice(places: Mapping[int, list[tuple[str, int]]], name: Callable[[str, int], str]) -> list[str]:
    """Notes on images with the same pixels; worse where they are in several splits."""
    notes = []
    across: list[list[tuple[str, int]]] = []
    within: list[list[tuple[str, int]]] = []
    for found in places.values():
        if len(found) > 1:
            (across if len({split for split, _ in found}) > 1 else within).append(found)
    for groups, what in ((across, "are in several splits, so that scores flatter"), (within, "occur more than once")):
        if groups:
            pairs = [" = ".join(name(*place) for place in (found[0], found[-1])) for found in groups[:TOLD]]
            more = "; …" if len(groups) > TOLD else ""
            notes.append(f"{len(groups)} pictures {what}, pixel for pixel: {'; '.join(pairs)}{more}")
    return notes


def _small(summary: Summary) -> list[str]:
    if len(summary.image_shape) != 3:
        return []
    height, width = summary.image_shape[1:]
    small = sum(count for size, count in summary.found.sizes.items() if size[0] < height or size[1] < width)
    return [f"{small} images are smaller than {height} x {width} and would be enlarged"] if small else []


def _described(dataset: Any, split: str, i: int) -> str:
    return dataset.described(i) if hasattr(dataset, "described") else f"{split} {i}"
