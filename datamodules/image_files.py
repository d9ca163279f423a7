"""Image files as a data set: decoded to uint8 of one shape whenever they are asked for."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import BatchDataset, in_runs
from datamodules.decoding import (
    EXTENSIONS,
    Half,
    Header,
    decode,
    decode_whole,
    examine,
    read_extremes,
    read_header,
    read_upright_size,
)
from datamodules.listing import Archive, Names, list_folder, no_images
from datamodules.pixel_values import DEFAULT, Reading

__all__ = ["EXTENSIONS", "EncodedImages", "ImageFiles", "Names", "decode", "find_images", "pages_of", "read_header"]
PAGED = (".tif", ".tiff")


class EncodedImages(BatchDataset):
    """Encoded pictures as uint8 (C, H, W), decoded at every access, wherever they are kept.

    Args:
        labels: class of each image (N,).
        image_shape: (C, H, W) of the result, with C 1 or 3.
        reading: what the pictures' values mean.
        pages: page of each image within its file (N,); None for the first of every file.
    """

    def __init__(
        self,
        labels: Tensor,
        image_shape: tuple[int, int, int],
        reading: Reading = DEFAULT,
        pages: np.ndarray | None = None,
    ):
        self.labels = labels
        self.image_shape = image_shape
        self.reading = reading
        self.pages = pages

    @abstractmethod
    def opened(self, i: int) -> str | IO[bytes]:
        """What the decoder takes of image i: a path, or a file."""

    @abstractmethod
    def described(self, i: int) -> str:
        """What errors call image i."""

    @abstractmethod
    def stamps(self) -> Iterator[str]:
        """What the pixels depend on: shape and reading, then what tells each picture from others."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images: dict[int, np.ndarray] = {}
        for run in in_runs(self.in_order(indices)):
            files = [self.opened(i) for i in run]
            images |= {i: self.decoded(i, file) for i, file in zip(run, files, strict=True)}
        return torch.from_numpy(np.stack([images[i] for i in indices])), self.labels[torch.tensor(indices)]

    def in_order(self, indices: list[int]) -> list[int]:
        """The indices in the order in which their images are read."""
        return indices

    def decoded(self, i: int, file: str | IO[bytes] | None = None) -> np.ndarray:
        """Image i, uint8 (C, H, W), from what `opened` has returned."""
        return decode(file or self.opened(i), self.image_shape, self.described(i), self.reading, self._page(i))

    def header(self, i: int) -> Header:
        """What the file of image i says of itself."""
        return read_header(self.opened(i), self.described(i), self.reading)

    def upright_size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i as it is shown."""
        return read_upright_size(self.opened(i), self.described(i), self.reading)

    def extremes(self, i: int) -> tuple[float, float, float]:
        """The least and largest stored value of image i, and the one that becomes white."""
        return read_extremes(self.opened(i), self.described(i), self.reading, self._page(i))

    def examined(self, i: int) -> tuple[Header, tuple[float, float, float], np.ndarray]:
        """Header, extremes and pixels of image i, decoded once."""
        page = None if self.pages is None else int(self.pages[i])
        return examine(self.opened(i), self.image_shape, self.described(i), self.reading, page)

    def _page(self, i: int) -> int:
        return 0 if self.pages is None else int(self.pages[i])

    def _protocol(self) -> str:
        return f"{self.image_shape}{'' if self.reading == DEFAULT else self.reading}"


class ImageFiles(EncodedImages):
    """Image files as uint8 (C, H, W), decoded at every access.

    Args:
        paths: the files; names in the archive if there is one.
        labels: as in `EncodedImages`.
        image_shape: as in `EncodedImages`.
        reading: as in `EncodedImages`.
        archive: holds the files.
        pages: as in `EncodedImages`.
    """

    def __init__(
        self,
        paths: Iterable[str],
        labels: Tensor,
        image_shape: tuple[int, int, int],
        reading: Reading = DEFAULT,
        archive: Archive | None = None,
        pages: np.ndarray | None = None,
    ):
        super().__init__(labels, image_shape, reading, pages)
        self.paths = Names(paths)
        self.archive = archive
        self._entries = None if archive is None else archive.entries(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def opened(self, i: int) -> str | IO[bytes]:
        """A path, or a file of the archive."""
        if self.archive is None or self._entries is None:
            return self.paths[i]
        return self.archive.open_entry(int(self._entries[i]))

    def described(self, i: int) -> str:
        """The path, with the page unless it is the first."""
        path = self.paths[i]
        name = path if self.archive is None else f"{self.archive.path}/{path}"
        return name if self.pages is None or not self.pages[i] else f"{name}, page {self.pages[i]}"

    def stamps(self) -> Iterator[str]:
        """Shape and reading, then each file's name, size and time (CRC in an archive)."""
        yield self._protocol()
        for i, path in enumerate(self.paths):
            page = "" if self.pages is None else f"\n{self.pages[i]}"
            yield f"{Path(path).name}\n{file_stamp(path, self.archive)}{page}"


class HalfImageFiles(ImageFiles):
    """One of two images that lie side by side in each file.

    Args:
        right: whether it is the one on the right.
        **kwargs: of `ImageFiles`.
    """

    def __init__(self, *, right: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.right = right

    def decoded(self, i: int, file: str | IO[bytes] | None = None) -> np.ndarray:
        """Half of image i, uint8 (C, H, W)."""
        half: Half = "right" if self.right else "left"
        return decode(file or self.opened(i), self.image_shape, self.described(i), self.reading, half=half)


class WholeImageFiles(ImageFiles):
    """Image files at their own sizes, of which batches hold one each. Of `image_shape` only the channels count."""

    def decoded(self, i: int, file: str | IO[bytes] | None = None) -> np.ndarray:
        """Image i, uint8 (C, H, W) with its own H and W."""
        return decode_whole(file or self.opened(i), self.image_shape[0], self.described(i), self.reading)


def file_stamp(path: str, archive: Archive | None = None) -> str:
    """What tells a file from an earlier one of its name: size and time, in an archive size and checksum."""
    if archive is not None:
        return archive.stamp(path)
    status = os.stat(path)
    return f"{status.st_size}\n{status.st_mtime_ns}"


def find_images(folder: str | Path, follow_links: bool = False) -> list[str]:
    """Paths ``a/b.png``, relative to `folder`, of the images below it, sorted; as in `list_folder`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no file below it has one of the `EXTENSIONS`, or a link leads out of it.
    """
    found = list_folder(str(folder), follow_links).images
    if not found:
        raise no_images(str(folder))
    return [*found]


def pages_of(paths: list[str], archive: Archive | None, reading: Reading) -> list[int]:
    """Number of pages of each file, by the headers of TIFF files; 1 for all others.

    Raises:
        ValueError: a file can't be read; names it.
    """
    return [_pages(path, archive, reading) if path.lower().endswith(PAGED) else 1 for path in paths]


def _pages(path: str, archive: Archive | None, reading: Reading) -> int:
    if archive is None:
        return read_header(path, path, reading).pages
    with archive.open(path) as file:
        return read_header(file, f"{archive.path}/{path}", reading).pages
