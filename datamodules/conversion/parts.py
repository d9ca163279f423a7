"""The finished parts of a conversion: tar files of some thousand pictures, each with what is known of it beside it."""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodules.conversion.pictures import Encoded, Refused, Wanted, encoded_pictures
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.shard_writer import add_member
from lit_gen.files import whole_file

CHUNK = 100  # pictures that are read at once, where the data set reads several


@dataclass(frozen=True)
class Part:
    """Pictures ``start`` to ``stop`` - 1 of a split, the part of this number."""

    number: int
    split: Split
    start: int
    stop: int


@dataclass(frozen=True)
class Done:
    """What is known of a finished part.

    Args:
        split: of its pictures.
        size: bytes of its tar file.
        suffixes: of the pictures written (n,).
        checksums: CRC-32 of their bytes (n,).
        labels: their classes (n,), or nothing.
        stayed: how many have the bytes of the source.
        refused: why pictures can't be read, a line each.
    """

    split: Split
    size: int
    suffixes: list[str]
    checksums: list[int]
    labels: list[int]
    stayed: int
    refused: list[str]


@dataclass(frozen=True)
class Item:
    """A picture as a target gets it: its number in its split, its file's bytes and suffix, its class or none."""

    split: Split
    number: int
    content: bytes
    suffix: str
    label: int | None


def parts_of(sizes: Mapping[Split, int], images: int) -> list[Part]:
    """All splits in parts of at most so many images."""
    ranges = [(split, start) for split in SPLITS for start in range(0, sizes.get(split, 0), images)]
    return [Part(i, split, start, min(start + images, sizes[split])) for i, (split, start) in enumerate(ranges)]


class Parts:
    """Writes the parts of a conversion, and reads those that are finished.

    Args:
        folder: where they lie.
        datasets: of the splits.
        labelled: whether the data have classes.
        wanted: what the pictures are to be like.
        skip_unreadable: leaves out what can't be read.
    """

    def __init__(
        self,
        folder: Path,
        datasets: Mapping[Split, BatchDataset],
        labelled: bool,
        wanted: Wanted,
        skip_unreadable: bool,
    ) -> None:
        self.folder, self.datasets, self.labelled = folder, dict(datasets), labelled
        self.wanted, self.skip_unreadable = wanted, skip_unreadable

    def tar(self, number: int) -> Path:
        """Where the pictures of a part lie."""
        return self.folder / f"part-{number:06d}.tar"

    def done(self, part: Part) -> Done | None:
        """What is known of a part; None if it isn't finished, or has left out what is now an error."""
        try:
            done = Done(**json.loads(self._beside(part.number).read_bytes()))
            whole = os.path.getsize(self.tar(part.number)) == done.size
        except (OSError, ValueError, TypeError):
            return None
        return done if whole and (self.skip_unreadable or not done.refused) else None

    def write(self, part: Part) -> Done:
        """Read, encode and write a part; it is there whole or not at all.

        Raises:
            ValueError: a picture that can't be read, unless such are skipped; names it.
        """
        dataset, refused, stayed = self.datasets[part.split], [], 0
        suffixes: list[str] = []
        checksums: list[int] = []
        labels: list[int] = []
        with whole_file(self.tar(part.number)) as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for i, picture, label in self._pictures(dataset, part):
                    if isinstance(picture, Refused):
                        refused.append(picture.reason)
                        continue
                    add_member(tar, f"{i:09d}.{picture.suffix}", picture.content)
                    if self.labelled:
                        add_member(tar, f"{i:09d}.cls", str(label).encode())
                        labels.append(label)
                    suffixes.append(picture.suffix)
                    checksums.append(picture.checksum)
                    stayed += picture.stayed
            size = file.tell()
        done = Done(part.split, size, suffixes, checksums, labels, stayed, refused)
        with whole_file(self._beside(part.number)) as beside:
            beside.write(json.dumps(asdict(done)).encode())
        return done

    def _pictures(self, dataset: Any, part: Part) -> Iterator[tuple[int, Encoded | Refused, int]]:
        labels = getattr(dataset, "labels", None)
        for start in range(part.start, part.stop, CHUNK):
            indices = range(start, min(start + CHUNK, part.stop))
            classes = dataset.__getitems__(list(indices))[1] if labels is None else labels[indices.start : indices.stop]
            pictures = encoded_pictures(dataset, indices, self.wanted)
            for i, picture, label in zip(indices, pictures, classes.tolist(), strict=True):
                if isinstance(picture, Refused) and not self.skip_unreadable:
                    raise ValueError(f"{picture.reason} (--skip_unreadable leaves such pictures out)")
                yield i, picture, label

    def _beside(self, number: int) -> Path:
        return self.tar(number).with_suffix(".json")


@dataclass(frozen=True)
class Finished:
    """A finished part: what is known of it, and its tar file."""

    done: Done
    tar: Path


def items(finished: Sequence[Finished]) -> Iterator[Item]:
    """All pictures, each split numbered from 0 without gaps."""
    numbers = dict.fromkeys(SPLITS, 0)
    for part in finished:
        done = part.done
        place = 0
        with tarfile.open(part.tar, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
                content = tar.extractfile(member)
                if member.name.endswith(".cls") or content is None:
                    continue
                label = done.labels[place] if done.labels else None
                yield Item(done.split, numbers[done.split], content.read(), done.suffixes[place], label)
                place, numbers[done.split] = place + 1, numbers[done.split] + 1
