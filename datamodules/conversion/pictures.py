"""A picture as it is converted: its file's own bytes where nothing changes, else encoded anew."""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from datamodules.datasets import BatchDataset
from datamodules.decoding import (
    UNREADABLE,
    channels_first,
    converted,
    decode_whole,
    header_of,
    image_of,
    readable,
    turn_of,
)
from datamodules.pixel_values import DEFAULT, Reading
from datamodules.shard_writer import npy
from datamodules.shards import read_array

STAY = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}  # formats whose files may stay as they are
NPY = b"\x93NUMPY"  # how a .npy begins
JPEG_QUALITY = 95
Format = Literal["png", "webp", "jpg", "npy"]


@dataclass(frozen=True)
class Wanted:
    """What converted pictures are like.

    Args:
        size: (height, width) that pictures are scaled to cover, and cropped to at the centre; None keeps their own.
        channels: 1 for grey, 3 for RGB; None keeps what is grey, and all else becomes RGB.
        format: of all pictures, WebP without loss, ``npy`` for arrays (C, H, W); None keeps PNG, JPEG and WebP where
            nothing changes, and what changes becomes PNG.
        quality: of JPEG, 1 to 95; None for 95, which leaves those as they are that don't change.

    Raises:
        ValueError: a value out of range.
    """

    size: tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    format: Format | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"image_size={self.size}: must be at least 1")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels={self.channels}: must be 1 (grey), 3 (RGB) or None")
        if self.format not in (None, "png", "webp", "jpg", "npy"):
            raise ValueError(f"format={self.format!r}: must be 'png', 'webp', 'jpg' or 'npy'")
        if self.quality is not None and self.format != "jpg":
            raise ValueError(f"quality={self.quality}: for format='jpg' alone, not {self.format!r}")
        if self.quality is not None and not 1 <= self.quality <= 95:
            raise ValueError(f"quality={self.quality}: must be from 1 to 95")


@dataclass(frozen=True)
class Encoded:
    """A picture, or an array, as it is written: its file's bytes and suffix, and whether they are the source's."""

    content: bytes
    suffix: str
    stayed: bool = False

    @property
    def checksum(self) -> int:
        """CRC-32 of the bytes."""
        return zlib.crc32(self.content)


@dataclass(frozen=True)
class Refused:
    """What can't be read, and why."""

    reason: str


def encoded_pictures(dataset: BatchDataset, indices: Sequence[int], wanted: Wanted) -> Iterator[Encoded | Refused]:
    """The pictures of a data set, in the order of the indices.

    A data set that opens its files by ``opened`` gives their bytes; all else gives uint8 (C, H, W) or points.
    """
    if hasattr(dataset, "opened"):
        for i in indices:
            yield _of_file_or_why(dataset, i, wanted)
        return
    arrays, _ = dataset.__getitems__(list(indices))
    for i, array in zip(indices, arrays.numpy(), strict=True):
        yield _of_array(array, f"image {i}", wanted, DEFAULT)


def content_of(dataset: Any, i: int) -> bytes:
    """The file of image i as it is stored.

    Raises:
        ValueError: it can't be read; names it.
    """
    try:
        opened = dataset.opened(i)
        with open(opened, "rb") if isinstance(opened, str) else opened as file:
            return file.read()
    except UNREADABLE as error:
        name = dataset.described(i)
        raise error if name in str(error) else ValueError(f"{name}: can't be read: {error}") from error


def _of_file_or_why(dataset: Any, i: int, wanted: Wanted) -> Encoded | Refused:
    try:
        return _of_file(dataset, i, wanted)
    except (ValueError, OSError) as error:
        return Refused(" ".join(str(error).split()))


def _of_file(dataset: Any, i: int, wanted: Wanted) -> Encoded:
    content, name, reading = content_of(dataset, i), dataset.described(i), dataset.reading
    if content.startswith(NPY):
        return _of_array(read_array(content, name), name, wanted, reading)
    with readable(io.BytesIO(content), name, reading) as opened:
        page = 0 if dataset.pages is None else int(dataset.pages[i])
        several = getattr(opened, "n_frames", 1) > 1
        if page:
            opened.seek(page)
        opened.load()
        if not several and _stays(opened, wanted, reading):
            return Encoded(content, STAY[str(opened.format)], stayed=True)
        pixels = _pixels(opened, wanted, reading)
    return _encode(pixels, name, wanted)


def _of_array(array: np.ndarray, name: str, wanted: Wanted, reading: Reading) -> Encoded:
    """Of an image uint8 (C, H, W), or a point (D,)."""
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return _encode(_pixels(image_of(array), wanted, reading), name, wanted)
    if wanted.format not in (None, "npy") or wanted.size is not None or wanted.channels is not None:
        raise ValueError(f"{name}: an array {array.dtype} {array.shape}, which is no picture of 1 or 3 channels")
    return Encoded(npy(array), "npy")


def _stays(opened: Image.Image, wanted: Wanted, reading: Reading) -> bool:
    """Whether a loaded picture's file says already what is wanted, to whoever reads it."""
    modes = {None: ("L", "RGB"), 1: ("L",), 3: ("RGB",)}[wanted.channels]
    return (
        STAY.get(str(opened.format)) in ((*STAY.values(),) if wanted.format is None else (wanted.format,))
        and wanted.quality is None
        and opened.mode in modes
        and not opened.has_transparency_data
        and reading.white in (None, 255)
        and wanted.size in (None, (opened.height, opened.width))
        and turn_of(opened) is None
    )


def _pixels(opened: Image.Image, wanted: Wanted, reading: Reading) -> np.ndarray:
    grey = header_of(opened, counted=False).grey
    image = converted(opened, wanted.channels or (1 if grey else 3), reading)
    if wanted.size is not None:
        image = ImageOps.fit(image, wanted.size[::-1], method=Image.Resampling.BICUBIC)
    return np.ascontiguousarray(channels_first(image))


def _encode(pixels: np.ndarray, name: str, wanted: Wanted) -> Encoded:
    """Pixels uint8 (C, H, W) as a file, which is read again where its format loses nothing."""
    suffix = wanted.format or "png"
    if suffix == "npy":
        return Encoded(npy(pixels), "npy")
    image, buffer = image_of(pixels), io.BytesIO()
    try:
        if suffix == "jpg":
            image.save(buffer, "JPEG", quality=wanted.quality or JPEG_QUALITY, subsampling=0)
        else:
            image.save(buffer, suffix.upper(), lossless=True)
    except UNREADABLE as error:
        raise ValueError(f"{name}: can't be written as {suffix}: {error}") from error
    content = buffer.getvalue()
    if suffix != "jpg" and not np.array_equal(decode_whole(io.BytesIO(content), len(pixels), name), pixels):
        raise ValueError(f"{name}: as {suffix} it doesn't read back the same")
    return Encoded(content, suffix)
