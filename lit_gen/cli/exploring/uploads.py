"""Pictures from elsewhere, as a model takes them; what is wrong with one is told in a line."""

from pathlib import Path

import torch
from torch import Tensor

from datamodules.datasets import to_float
from datamodules.decoding import decode, decode_whole
from datamodules.pixel_values import Reading

MOST_BYTES = 50 * 2**20  # of a file
MOST_PIXELS = 24_000_000  # a camera's picture; more would take the page's processor for minutes
READING = Reading(max_pixels=MOST_PIXELS)
NAME = "the picture"  # a file's own name is nothing that a page needs to repeat


def read_fitted(path: str | Path | None, image_shape: tuple[int, ...], negative: bool = False) -> Tensor:
    """A picture scaled and cropped to what a model takes, ``(1, C, H, W)`` in [-1, 1].

    Args:
        path: The file; None for none.
        image_shape: ``(C, H, W)``.
        negative: Whether black and white change places, as of writing on paper for a model of white digits on black.

    Raises:
        ValueError: no file, too large a one, or none that is a picture.
    """
    channels, height, width = image_shape
    pixels = torch.from_numpy(decode(_checked(path), (channels, height, width), NAME, READING).copy())
    images = to_float(pixels[None])
    return -images if negative else images


def read_whole(path: str | Path | None, channels: int) -> Tensor:
    """A picture at its own size, ``(1, C, H, W)`` in [-1, 1].

    Raises:
        ValueError: no file, too large a one, or none that is a picture.
    """
    return to_float(torch.from_numpy(decode_whole(_checked(path), channels, NAME, READING).copy())[None])


def _checked(path: str | Path | None) -> str:
    if path is None:
        raise ValueError("no picture yet")
    try:
        size = Path(path).stat().st_size
    except FileNotFoundError:  # of a page left open for longer than files are kept
        raise ValueError(f"{NAME}: no longer there, give it again") from None
    if size > MOST_BYTES:
        raise ValueError(f"{NAME}: a file of {size / 2**20:.0f} MiB; at most {MOST_BYTES // 2**20} are read")
    return str(path)
