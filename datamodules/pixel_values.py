"""Stored values of images as 8 bits: the value that is white, transparency. Imports nothing of this package."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MAX_PIXELS = 2 * 89_478_485  # Pillow's own limit against files that unpack to more than the memory


@dataclass(frozen=True)
class Reading:
    """How the values of image files become 8-bit pixels.

    Args:
        white: the stored value that becomes 255; smaller ones follow in proportion, larger ones are an error. None is
            that of the type, 255 or 65,535; floats need one.
        alpha: transparent pixels are laid on ``white``, or the alpha channel is left out (``drop``), as pytorch-fid,
            clean-fid and torch-fidelity do.
        max_pixels: larger pictures are refused before they are unpacked.

    Raises:
        ValueError: a value out of range.
    """

    white: float | None = None
    alpha: Literal["white", "drop"] = "white"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.white is not None and not 0 < self.white < float("inf"):
            raise ValueError(f"white={self.white}: must be above 0, the stored value that becomes white")
        if self.alpha not in ("white", "drop"):
            raise ValueError(f"alpha={self.alpha!r}: must be 'white' or 'drop'")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels={self.max_pixels}: must be at least 1")


DEFAULT = Reading()


def eight_bits(image: Image.Image, mode: str, reading: Reading = DEFAULT) -> Image.Image:
    """Converts to mode L or RGB: values by `reading.white`, transparency by `reading.alpha`.

    Raises:
        ValueError: values below 0 or above white, or floats without a white.
    """
    if image.mode == "F" and reading.white is None:
        raise ValueError("floating-point pixels; say the value that becomes white, white=1.0 for [0, 1]")
    if image.mode in ("F", *GREY_16_BIT):
        return Image.fromarray(to_bytes(np.asarray(image), reading.white or white_of(image.mode))).convert(mode)
    if image.has_transparency_data:
        image = _scaled(image.convert("RGBA"), reading.white)
        if reading.alpha == "white":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return _in_mode(image.convert("RGB"), mode)
    if image.mode not in ("1", "L"):
        image = _in_mode(image, "RGB")  # from Lab, say, there is no other way to grey
    return _in_mode(image if image.mode == "1" else _scaled(image, reading.white), mode)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image itself if it is of this mode already, where Pillow would copy it."""
    return image if image.mode == mode else image.convert(mode)


def to_bytes(values: np.ndarray, white: float) -> np.ndarray:
    """255 v / white, rounded, as uint8; any shape.

    Raises:
        ValueError: values outside 0..white, or NaN.
    """
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high <= white):
        raise ValueError(f"values {low}..{high} outside 0..{white:g}; give a white of at least the largest")
    if values.dtype == np.uint8 and white == 255:
        return values
    if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:
        table = np.floor(np.arange(int(high) + 1) * 255.0 / white + 0.5).astype(np.uint8)
        return table[values]
    return np.floor(values * (255.0 / white) + 0.5).astype(np.uint8)


def _scaled(image: Image.Image, white: float | None) -> Image.Image:
    if white is None or white == 255:
        return image
    extremes: Any = image.getextrema()
    highs = [extremes[1]] if image.mode == "L" else [high for _, high in extremes[:3]]
    if max(highs) > white:
        raise ValueError(f"values up to {max(highs)} outside 0..{white:g}; give a white of at least the largest")
    table = [min(255, int(value * 255 / white + 0.5)) for value in range(256)]
    return image.point(table * len(highs) + (list(range(256)) if image.mode == "RGBA" else []))


def white_of(mode: str) -> float:
    """The stored value that is white in one of Pillow's modes."""
    return 65535 if mode in GREY_16_BIT else 255
