"""Where the images of WebDataset's shards begin, and their labels: tar files whose headers are read once."""

import json
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np

from datamodules.datasets import Split
from datamodules.decoding import EXTENSIONS
from datamodules.formats.containers import DAMAGE
from datamodules.splits import split_in
from lit_gen.files import whole_file

INDEX = "index.npz"
# Indices hold places in this list: new suffixes come last.
_FIRST = ("png", "jpg", "jpeg", "webp", "npy")
SUFFIXES = (*_FIRST, *(suffix[1:] for suffix in EXTENSIONS if suffix[1:] not in _FIRST))
LABEL_KEYS = ("label", "class", "cls", "class_name")  # in a sample's .json


@dataclass(frozen=True)
class ShardIndex:
    """Where the images of a folder's shards are: a row for each, in the order of the shards and of their members.

    Args:
        shards: names of the tar files, sorted.
        sizes: bytes of each, by which an index that is out of date is told.
        shard: number of each image's shard (N,).
        offset: where its bytes begin (N,).
        length: how many there are (N,).
        suffix: its place in `SUFFIXES` (N,).
        label: its label (N,), -1 without one; a place in `words` where labels are words.
        words: labels that are words, sorted, or the names of the classes by number; empty if neither is known.
        left_out: kinds of members that are no part of a sample (M,), and files beside the shards.
        counts: how many there are of each kind (M,).
        checksums: CRC-32 of each shard; none of them where they aren't known.
    """

    shards: np.ndarray
    sizes: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    suffix: np.ndarray
    label: np.ndarray
    words: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="U1"))
    left_out: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="U1"))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    checksums: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, folder: Path) -> "ShardIndex":
        """The index stored beside the shards if it is up to date, else one made by reading their headers.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: no shards, or one that is damaged or not of the format.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"root: there is no folder {str(folder)!r}")
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.stat().st_size) for e in entries if e.name.endswith(".tar") and e.is_file())
        if not found:
            raise ValueError(f"root: no shard (.tar) in {str(folder)!r}")
        stored = cls.stored(folder / INDEX)
        if stored is not None and stored.is_of(dict(found)):
            return stored
        return cls.made(str(folder), dict(found), lambda name: open(folder / name, "rb"))

    def is_of(self, sizes: Mapping[str, int]) -> bool:
        """Whether it is up to date, by names and bytes of the shards."""
        return dict(zip(self.shards.tolist(), self.sizes.tolist(), strict=True)) == dict(sizes)

    @classmethod
    def made(cls, folder: str, found: Mapping[str, int], opened: Callable[[str], IO[bytes]]) -> "ShardIndex":
        """An index made by reading the headers of shards.

        Args:
            folder: what messages call it.
            found: bytes of each shard, sorted by their names.
            opened: opens one.

        Raises:
            ValueError: one that is damaged or not of the format.
        """
        left_out: Counter[str] = Counter()
        rows = []
        for i, name in enumerate(found):
            with opened(name) as file:
                rows += [(i, *row) for row in read_headers(file, f"{folder}/{name}", left_out)]
        if len({type(row[4]) for row in rows} - {type(None)}) > 1:
            raise ValueError(f"root: some samples of {folder!r} have numbers as labels and some have words")
        words = sorted({label for *_, label in rows if isinstance(label, str)})
        place = {word: i for i, word in enumerate(words)}
        labels = [-1 if label is None else place[label] if isinstance(label, str) else label for *_, label in rows]
        shard, offset, length, suffix = np.array([row[:4] for row in rows], dtype=np.int64).reshape(len(rows), 4).T
        return cls(
            np.array([*found]),
            np.array([*found.values()]),
            shard,
            offset,
            length,
            suffix,
            label=np.array(labels, dtype=np.int64),
            words=np.array(words, dtype=str),
            left_out=np.array([*left_out], dtype=str),
            counts=np.array([*left_out.values()], dtype=np.int64),
        )

    def passed_over(self, folder: Path | None) -> dict[str, int]:
        """Members that are no part of a sample, and files beside the shards in a folder, by kind."""
        counts = Counter(dict(zip(self.left_out.tolist(), self.counts.tolist(), strict=True)))
        for path in folder.iterdir() if folder is not None else ():
            if path.suffix != ".tar" and path.name != INDEX:
                counts["hidden" if path.name.startswith(".") else f"{path.suffix or path.name} beside the shards"] += 1
        return {what: count for what, count in counts.items() if count}

    def named(self, names: Sequence[str]) -> "ShardIndex":
        """The same with names of the classes by number."""
        return replace(self, words=np.array(names, dtype=str))

    @classmethod
    def stored(cls, path: Path) -> "ShardIndex | None":
        """The index of a file; None if there is none, or it can't be read."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls(**{name: archive[name] for name in cls.__dataclass_fields__ if name in archive.files})
        except DAMAGE:
            return None

    def with_checksums(self, folder: Path) -> "ShardIndex":
        """The same with the shards' checksums, for which they are read to their ends."""
        return replace(self, checksums=np.array([_checksum(folder / name) for name in self.shards.tolist()]))

    def checksum(self, shard: int) -> int | None:
        """Of a shard, if it is known."""
        return int(self.checksums[shard]) if len(self.checksums) else None

    def check(self, shard: int, file: IO[bytes], path: str) -> None:
        """See by two headers that a shard is the one that is meant.

        Raises:
            ValueError: its first or last image has another place or length.
        """
        first, end = np.searchsorted(self.shard, [shard, shard + 1])
        for row in {int(first), int(end) - 1}:
            file.seek(int(self.offset[row]) - tarfile.BLOCKSIZE)
            try:
                member = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), tarfile.ENCODING, "surrogateescape")
                fits = member.size == self.length[row]
            except tarfile.HeaderError:
                fits = False
            if not fits:
                raise ValueError(
                    f"{path}: another shard than {INDEX} was made for; take {INDEX} away, or write it anew"
                )

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        with whole_file(path) as file:
            np.savez_compressed(file, **asdict(self))

    def described(self, row: int) -> str:
        """The shard of a row, and the number of its image there."""
        shard = int(self.shard[row])
        return f"{self.shards[shard]}: image {row - int(np.searchsorted(self.shard, shard))}"

    def split(self, name: Split) -> np.ndarray:
        """Rows of the images whose shard's name says this split; ``train`` where no shard says that.

        Raises:
            ValueError: a name that says no split beside one that says train, or several splits.
        """
        said = [split_in(Path(str(shard)).stem) for shard in self.shards]
        if "train" in said and None in said:
            raise ValueError(
                f"root: {self.shards[said.index(None)]} says no split, beside {self.shards[said.index('train')]}; a "
                "split is a word of the name: train, val or test"
            )
        mine = np.array([(split or "train") == name for split in said])
        return np.flatnonzero(mine[self.shard])


def _checksum(path: Path) -> int:
    found = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
    return found


def read_headers(
    file: IO[bytes], path: str, left_out: Counter[str]
) -> Iterator[tuple[int, int, int, int | str | None]]:
    """Offset, length, suffix and label of each sample's image.

    Args:
        file: the shard.
        path: what messages call it.
        left_out: counts the members that are no part of a sample, by suffix.

    Raises:
        ValueError: not an uncompressed tar, or a sample without exactly one image.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            yield from _samples(tar, path, left_out)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: not a whole, uncompressed tar file: {error}") from None


def _samples(
    tar: tarfile.TarFile, path: str, left_out: Counter[str]
) -> Iterator[tuple[int, int, int, int | str | None]]:
    key, image = "", None
    label: int | str | None = None
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
        match = re.fullmatch(r"((?:.*/|)[^.]+)\.([^/]*)", member.name)  # WebDataset's rule
        if match is None or not member.isreg() or member.issparse():
            left_out["outside of samples"] += not member.isdir()
            continue
        if match[1] != key:
            if key:
                yield *_required(image, key, path), label
            key, image, label = match[1], None, None
        suffix = match[2].lower()
        if suffix in SUFFIXES:
            if image is not None:
                raise ValueError(f"{path}: sample {key} has more than one image")
            image = (member.offset_data, member.size, SUFFIXES.index(suffix))
        elif suffix == "cls":
            content = tar.extractfile(member)
            text = content.read(20).strip() if content else b""
            if not text.isdigit() or int(text) >= 2**63 - 1:
                raise ValueError(f"{path}: {member.name} holds {text!r}; a class is a number from 0")
            label = int(text)
        elif suffix == "json":
            label = _label_of(tar, member, path) if label is None else label
        else:
            left_out[f".{suffix}"] += 1
    if key:
        yield *_required(image, key, path), label


def _label_of(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> int | str | None:
    """The label that a sample's .json says, None if it says none."""
    content = tar.extractfile(member)
    try:
        told = json.loads(content.read()) if content else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {member.name} is not readable: {error}") from None
    label = next((told[key] for key in LABEL_KEYS if key in told), None) if isinstance(told, dict) else None
    if label is None or isinstance(label, str):
        return label
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < 2**63 - 1:
        raise ValueError(f"{path}: {member.name} holds the label {label!r}; a number from 0 or a word is accepted")
    return label


def _required(image: tuple[int, int, int] | None, key: str, path: str) -> tuple[int, int, int]:
    if image is None:
        raise ValueError(f"{path}: sample {key} has no image; accepted are {', '.join(SUFFIXES)}")
    return image
