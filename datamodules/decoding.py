"""Image files of any format as 8-bit pixels of one shape, turned upright, scaled and cropped."""

import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from datamodules.pixel_values import DEFAULT, GREY_16_BIT, Reading, eight_bits, white_of

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".jfif", ".jpe", ".avif", ".gif")
ARRAY = ".npy"  # of files that hold one picture as an array, as EDM's tool writes those that are no RGB
NPY = "NPY"  # in the place of a format of Pillow
# What a file may be, whatever its name says, if it has one: in tables and data bases it has none.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "PPM", "TIFF", "AVIF", "GIF")
KINDS = {"1": "bilevel", "L": "grey", "I": "32-bit grey", "F": "float grey", "P": "palette", "LA": "grey with alpha"}
KINDS |= {"RGBA": "RGB with alpha", **dict.fromkeys(GREY_16_BIT[:-1], "16-bit grey")}
# What Pillow and zipfile raise for malformed files.
UNREADABLE: tuple[type[Exception], ...] = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError)
UNREADABLE += (OverflowError, struct.error, zlib.error, zipfile.BadZipFile, RuntimeError, Image.DecompressionBombError)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_A_SIDE = {_TURNS[tag] for tag in (5, 6, 7, 8)}  # turns that exchange height and width
_opening = threading.Lock()
Half = Literal["left", "right"]


@dataclass(frozen=True)
class Header:
    """What an image file's header says: (H, W) as stored, Pillow's mode, pages or frames, whether it has alpha."""

    size: tuple[int, int]
    mode: str
    pages: int = 1
    alpha: bool = False

    @property
    def grey(self) -> bool:
        """Whether there is one channel."""
        return self.mode in ("1", "L", "F", *GREY_16_BIT)

    @property
    def kind(self) -> str:
        """The mode in words."""
        return KINDS.get(self.mode, self.mode)


def decode(
    file: str | IO[bytes],
    image_shape: tuple[int, int, int],
    name: str | None = None,
    reading: Reading = DEFAULT,
    page: int = 0,
    half: Half | None = None,
) -> np.ndarray:
    """Reads an image, turns it upright, scales it to cover (H, W), crops the centre: uint8 (C, H, W).

    Args:
        file: its path, or the file.
        image_shape: (C, H, W).
        name: what an error calls it; by default the path.
        reading: what its values mean.
        page: of a file of several pages.
        half: of a picture that shows two images side by side; None for all of it.

    Raises:
        ValueError: the file can't be read as an image, or has no two halves; names it.
    """
    with readable(file, name, reading) as opened:
        if page:
            opened.seek(page)
        return pixels_of(opened, image_shape, reading, half)


def examine(
    file: str | IO[bytes],
    image_shape: tuple[int, int, int],
    name: str,
    reading: Reading = DEFAULT,
    page: int | None = None,
) -> tuple[Header, tuple[float, float, float], np.ndarray]:
    """Header, extremes and pixels, as of `read_header`, `read_extremes` and `decode`, of an image decoded once.

    Pages, of which counting looks at each, are not counted where one is asked for.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    with readable(file, name, reading) as opened:
        header = header_of(opened, counted=page is None)
        if page:
            opened.seek(page)
        opened.load()
        return header, extremes_of(opened, reading), pixels_of(opened, image_shape, reading)


def decode_whole(
    file: str | IO[bytes], channels: int, name: str | None = None, reading: Reading = DEFAULT
) -> np.ndarray:
    """Reads an image and turns it upright, at its own size: uint8 (C, H, W), with C 1 or 3.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    with readable(file, name, reading) as opened:
        return channels_first(converted(opened, channels, reading))


def read_header(file: str | IO[bytes], name: str, reading: Reading = DEFAULT) -> Header:
    """An image's header, without decoding it.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    with readable(file, name, reading) as opened:
        return header_of(opened)


def read_upright_size(file: str | IO[bytes], name: str, reading: Reading = DEFAULT) -> tuple[int, int]:
    """(H, W) of an image turned as its orientation tag says, without decoding it.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    with readable(file, name, reading) as opened:
        # Pillow decodes a PNG in search of tags that don't stand before its pixels.
        early = opened.format != "PNG" or "exif" in opened.info
        lying = early and turn_of(opened) in ON_A_SIDE
        return opened.size if lying else opened.size[::-1]


def read_extremes(
    file: str | IO[bytes], name: str, reading: Reading = DEFAULT, page: int = 0
) -> tuple[float, float, float]:
    """The least and largest stored value of an image, alpha left out, and the one that becomes white.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    with readable(file, name, reading) as opened:
        if page:
            opened.seek(page)
        return extremes_of(opened, reading)


def header_of(opened: Image.Image, counted: bool = True) -> Header:
    """What an opened image says of itself; its pages are counted if asked for."""
    try:
        pages = getattr(opened, "n_frames", 1) if counted else 1
    except UNREADABLE:  # the first page may be whole
        pages = 1
    return Header((opened.height, opened.width), opened.mode, pages, opened.has_transparency_data)


def extremes_of(opened: Image.Image, reading: Reading) -> tuple[float, float, float]:
    """The least and largest stored value of an opened image, and the one that becomes white."""
    image = opened if opened.mode in ("L", "F", *GREY_16_BIT) else opened.convert("RGB")
    extremes: Any = image.getextrema()
    pairs = extremes if isinstance(extremes[0], tuple) else [extremes]
    return min(low for low, _ in pairs), max(high for _, high in pairs), reading.white or white_of(image.mode)


def pixels_of(
    opened: Image.Image, image_shape: tuple[int, int, int], reading: Reading, half: Half | None = None
) -> np.ndarray:
    """An opened image as of `decode`: uint8 (C, H, W)."""
    channels, height, width = image_shape
    if opened.format == NPY and opened.size != (width, height):
        raise ValueError(f"an array of {opened.height} x {opened.width}, not {height} x {width}; arrays aren't scaled")
    image = converted(opened, channels, reading)
    if half is not None:
        if image.width % 2:
            raise ValueError(f"{image.width} pixels wide, which two images side by side can't be")
        left = image.width // 2 if half == "right" else 0
        image = image.crop((left, 0, left + image.width // 2, image.height))
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
    return channels_first(image)


def converted(opened: Image.Image, channels: int, reading: Reading) -> Image.Image:
    """An opened image upright, in 8 bits, of 1 or 3 channels."""
    return eight_bits(_upright(opened), "L" if channels == 1 else "RGB", reading)


def channels_first(image: Image.Image) -> np.ndarray:
    """The pixels of an image of 8 bits, uint8 (C, H, W)."""
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


def image_of(pixels: np.ndarray) -> Image.Image:
    """Pixels uint8 (C, H, W) of 1 or 3 channels as an image: the inverse of `channels_first`."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


@contextmanager
def readable(file: str | IO[bytes], name: str | None, reading: Reading) -> Iterator[Image.Image]:
    """The opened image; what goes wrong within is an error that names the file."""
    told = name or (file if isinstance(file, str) else "image")
    try:
        with _opening:  # Pillow's limit is one for all files, and has no number in its message
            usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                opened = _of_array(file) if told.lower().endswith(ARRAY) else Image.open(file, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = usual
        with opened:
            pixels = opened.width * opened.height
            if pixels > reading.max_pixels:
                raise ValueError(
                    f"{opened.width} x {opened.height} are {pixels:,} pixels, more than max_pixels={reading.max_pixels}"
                )
            yield opened
    except UnidentifiedImageError as error:
        raise ValueError(f"{told}: not a readable image: of none of the formats {', '.join(FORMATS)}") from error
    except UNREADABLE as error:
        raise ValueError(f"{told}: not a readable image: {error}") from error


def _of_array(file: str | IO[bytes]) -> Image.Image:
    """The picture of a .npy file; its format is `NPY`."""
    array = np.load(file, allow_pickle=False)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[0] not in (1, 3) or array.size == 0:
        raise ValueError(f"{array.dtype} {array.shape}; arrays are uint8 (C, H, W) of 1 or 3 channels")
    image = image_of(array)
    image.format = NPY
    return image


def _upright(image: Image.Image) -> Image.Image:
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns an image as its orientation tag says; None for one that is upright, or whose tags can't be read."""
    if image.format == "PNG" and "exif" not in image.info:  # tags may follow the pixels; most have nothing but pixels
        image.load()
        if not image.info:
            return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        return None


def picture_shape(image_size: int | tuple[int, int], channels: int) -> tuple[int, int, int]:
    """(C, H, W) that a user's options say.

    Raises:
        ValueError: a size below 1, or channels that are neither grey nor RGB.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) < 1:
        raise ValueError(f"image_size={image_size}: must be at least 1")
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: must be 1 (grey) or 3 (RGB)")
    return (int(channels), height, width)


def is_image(name: str) -> bool:
    """Whether a file's name has the suffix of a format that is read."""
    return name.lower().endswith(EXTENSIONS)
