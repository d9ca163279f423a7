"""What was found in the data, in one line: images, sizes, values, classes, splits, and what was left out."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from datamodules.datasets import BatchDataset

LOOKED = 64  # files whose header a summary reads, or images in memory
DECODED = 4  # of so many headers one file is decoded for its values
DARK = 1 / 3  # of the white value; a largest value below it is worth a warning
TOLD = 5  # classes, or kinds of files, that the line names


@dataclass(frozen=True)
class Found:
    """What a data set's own reader finds beside the images.

    Args:
        sizes: number of images looked at by (height, width) as stored.
        channels: the same by what they hold, such as ``grey``, ``RGB``.
        values: least and largest stored value, and the one that becomes white; None for points.
        looked: images looked at.
        left_out: files or arrays that are not used, by kind.
        notes: what else a user should know, a sentence each.
        errors: what can't be read, a line each.
        checksums: where all was decoded, of each image its data set's place, its index and a checksum of its pixels.
    """

    sizes: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    values: tuple[float, float, float] | None = None
    looked: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    checksums: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Summary:
    """What was found.

    Args:
        name: of the data.
        images: number in each split.
        image_shape: (C, H, W) or (D,) as given to a model.
        classes: training images of each class by name, or all where there are no splits; empty without labels.
        found: of the reader.
        kind: what there is in the place of images, such as latents.
        made_by: by what it was made of images.
    """

    name: str
    images: Mapping[str, int]
    image_shape: tuple[int, ...]
    classes: Mapping[str, int]
    found: Found
    kind: str = ""
    made_by: str = ""

    def line(self) -> str:
        """All of it, in one line; long lists are cut."""
        kind, total = "images" if len(self.image_shape) == 3 else "points", sum(self.images.values())
        kind = self.kind or kind
        splits = ", ".join(f"{split} {count:,}" for split, count in self.images.items())
        parts = [f"{self.name}: {total:,} {kind} ({splits})", *self._pixels()]
        if self.classes:
            told = ", ".join(f"{name} {count:,}" for name, count in list(self.classes.items())[:TOLD])
            more = ", …" if len(self.classes) > TOLD else ""
            whose = " for training" if "train" in self.images else ""
            parts.append(f"{len(self.classes)} class{'es' * (len(self.classes) != 1)} ({told}{more}{whose})")
        else:
            parts.append("no labels")
        if self.made_by:
            parts.append(f"encoded by {self.made_by}")
        if self.found.left_out:
            kinds = sorted(self.found.left_out.items(), key=lambda pair: -pair[1])
            told = ", ".join(f"{count:,} {what}" for what, count in kinds[:TOLD])
            parts.append(f"left out {told}{', …' if len(kinds) > TOLD else ''}")
        return printable(", ".join(parts[:2]) + "".join(f"; {part}" for part in parts[2:]))

    def _pixels(self) -> list[str]:
        shape, found = " x ".join(map(str, self.image_shape)), self.found
        if len(self.image_shape) == 1:
            return [f"{self.image_shape[0]} dimensions"]
        told = []
        if found.sizes and set(found.sizes) != {tuple(self.image_shape[1:])}:
            sizes = sorted(found.sizes, key=lambda size: (size[0] * size[1], size))
            ends = [" x ".join(map(str, size)) for size in (sizes[0], sizes[-1])]
            told.append(f"{ends[0]} to {ends[1]}" if len(sizes) > 1 else ends[0])
        if found.channels:
            told.append("/".join(sorted(found.channels)))
        parts = [shape + (f" from {' '.join(told)}" if told else "")]
        if found.values is not None:
            low, high, white = found.values
            looked = "" if found.looked >= sum(self.images.values()) else f" in {found.looked} looked at"
            parts.append(f"values {low:g} to {high:g} of {white:g}{looked}")
        return parts

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is likely a mistake, a sentence each."""
        warned = list(self.found.notes)
        if self.found.values is not None:
            low, high, white = self.found.values
            if high <= white * DARK and white > 1:
                warned.append(
                    f"the largest value is {high:g} where {white:g} is white: pictures come out dark; "
                    f"white={_likely_white(high):g} would use the range"
                )
            elif low == high:
                warned.append(f"all values are {low:g}")
        empty = [name for name, count in self.classes.items() if count == 0]
        if empty:
            warned.append(f"no training image of {listed(empty)}: such classes can't be learned")
        return tuple(map(printable, warned))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        found = asdict(replace(self.found, checksums=()))
        del found["checksums"]
        sizes = {"x".join(map(str, size)): count for size, count in self.found.sizes.items()}
        return {
            "name": self.name,
            "images": dict(self.images),
            "image_shape": list(self.image_shape),
            "classes": dict(self.classes),
            **found,
            "sizes": sizes,
            "warnings": list(self.warnings),
        }


def spread(count: int, look: int | None) -> list[int]:
    """At most `look` of the numbers 0 to count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, look or count)).astype(int)).tolist() if count else []


def look_at_files(
    datasets: Sequence[BatchDataset], left_out: Mapping[str, int], notes: Sequence[str], look: int | None
) -> Found:
    """Headers and values of some files of each split.

    Args:
        datasets: `ImageFiles` or `ShardImages` of the splits.
        left_out: as in `Found`.
        notes: as in `Found`; others are added.
        look: files to read; None for all.
    """
    total = sum(map(len, datasets))
    looked, checksums = [], []
    for number, dataset in enumerate(datasets):
        for place, i in enumerate(spread(len(dataset), look and -(-look * len(dataset) // max(total, 1)))):
            header, extremes, pixels, error = _look(dataset, i, look is None, place % DECODED == 0)
            looked.append((dataset, i, header, extremes, error))
            if pixels is not None:
                checksums.append((number, i, zlib.crc32(np.ascontiguousarray(pixels).data)))
    headers = [(files, i, header) for files, i, header, *_ in looked if header is not None]
    values = [extremes for *_, extremes, _ in looked if extremes is not None]
    return Found(
        sizes=dict(Counter(header.size for *_, header in headers)),
        channels=dict(Counter(header.kind for *_, header in headers)),
        values=_range(values),
        looked=len(headers),
        left_out=dict(left_out),
        notes=(*notes, *_alpha_and_pages(headers)),
        errors=tuple(error for *_, error in looked if error is not None),
        checksums=tuple(checksums),
    )


def _look(files: Any, i: int, whole: bool, decoded: bool) -> tuple[Any, Any, Any, str | None]:
    """A file's header, extremes and pixels, as far as they are asked for, and the error where it can't be read."""
    try:
        if whole:
            return *files.examined(i), None
        return files.header(i), files.extremes(i) if decoded else None, None, None
    except (ValueError, OSError) as error:
        return None, None, None, printable(" ".join(str(error).split()))


def _alpha_and_pages(headers: Sequence[tuple[Any, int, Any]]) -> list[str]:
    """Notes on what is done with transparent pixels, and with files of several pages."""
    notes = []
    transparent = sum(header.alpha and files.reading.alpha == "white" for files, _, header in headers)
    if transparent:
        notes.append(
            f"{transparent} of {len(headers)} files looked at have an alpha channel: transparent pixels are laid on "
            "white (alpha='drop' leaves it out, as pytorch-fid and clean-fid do)"
        )
    paged = [
        (files.described(i), header.pages) for files, i, header in headers if header.pages > 1 and files.pages is None
    ]
    if paged:
        name, pages = paged[0]
        notes.append(
            f"{len(paged)} of {len(headers)} files looked at hold several pages or frames ({name}: {pages}); only the "
            "first is read (pages='all' reads each of a TIFF)"
        )
    return notes


def look_in_memory(datasets: Sequence[BatchDataset], look: int | None, white: float = 255) -> Found:
    """Values of some images of data sets that hold them."""
    values, looked = [], 0
    for dataset in datasets:
        indices = spread(len(dataset), look)
        if indices:
            images, _ = dataset.__getitems__(indices)
            looked += len(indices)
            if images.ndim == 4:
                values.append((float(images.min()), float(images.max()), white))
    return Found(values=_range(values), looked=looked)


def joined(parts: Mapping[str, Found]) -> Found:
    """What several readers found, as one; kinds and notes say which."""
    sizes: Counter[tuple[int, ...]] = Counter()
    channels: Counter[str] = Counter()
    for part in parts.values():
        sizes.update(part.sizes)
        channels.update(part.channels)
    return Found(
        dict(sizes),
        dict(channels),
        _range([part.values for part in parts.values() if part.values is not None]),
        sum(part.looked for part in parts.values()),
        {f"{what} of {name}": count for name, part in parts.items() for what, count in part.left_out.items()},
        tuple(f"{name}: {note}" for name, part in parts.items() for note in part.notes),
        tuple(error for part in parts.values() for error in part.errors),
    )


def class_counts(dataset: Any, names: Sequence[str]) -> dict[str, int]:
    """Images of each class by its name; empty without labels, or where the labels are not listed."""
    labels = getattr(dataset, "labels", None)
    if not names or not isinstance(labels, torch.Tensor):
        return {}
    return dict(zip(names, torch.bincount(labels, minlength=len(names)).tolist(), strict=True))


def _range(values: Sequence[tuple[float, float, float]]) -> tuple[float, float, float] | None:
    if not values:
        return None
    lows, highs, whites = zip(*values, strict=True)
    return min(lows), max(highs), max(whites)


def _likely_white(high: float) -> float:
    """The largest value of the fewest bits that hold `high`; of values up to 1 it is 1."""
    return 1.0 if high <= 1 else float(2 ** int(np.ceil(np.log2(high + 1))) - 1)


def printable(text: str) -> str:
    """A text with names of files in it, which may hold anything, as one line that any terminal takes."""
    kept = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in kept)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")
