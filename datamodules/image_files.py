"""Image files: finding them, and decoding them to uint8 of one shape."""

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.datasets import BatchDataset

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "PPM", "TIFF")  # what a file may be, whatever its name says
GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
# What Pillow raises for malformed files.
_UNREADABLE: tuple[type[Exception], ...] = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError)
_UNREADABLE += (OverflowError, struct.error, zlib.error, Image.DecompressionBombError)


class Names(Sequence[str]):
    """Strings in one piece of memory: a million paths that workers share without copying them page by page."""

    def __init__(self, names: Iterable[str]):
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return os.fsdecode(self._text[self._ends[i] : self._ends[i + 1]])


class ImageFiles(BatchDataset):
    """Image files as uint8 (C, H, W), decoded at every access.

    Args:
        paths: the files.
        labels: class of each file (N,).
        image_shape: (C, H, W) of the result, with C 1 or 3.
    """

    def __init__(self, paths: Iterable[str], labels: Tensor, image_shape: tuple[int, int, int]):
        self.paths = Names(paths)
        self.labels = labels
        self.image_shape = image_shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images = np.stack([decode(self.paths[i], self.image_shape) for i in indices])
        return torch.from_numpy(images), self.labels[torch.tensor(indices)]


def find_images(folder: str | Path, follow_links: bool = False) -> list[str]:
    """Paths ``a/b.png``, relative to `folder`, of the images below it, sorted; hidden ones are passed over.

    Every folder is listed once and no file is asked for anything but its name. Links to folders inside are passed over,
    since those are read anyway.

    Args:
        folder: where to look.
        follow_links: read what links lead to outside of `folder` too, every such folder once.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no file below it has one of the `EXTENSIONS`, or a link leads out of it.
    """
    folder = str(folder)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"root: there is no folder {folder!r}")
    root, found, unread, outside = os.path.realpath(folder), [], [""], set()
    while unread:
        below = unread.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                path, is_image = below + entry.name, entry.name.lower().endswith(EXTENSIONS)
                if entry.name.startswith("."):
                    continue
                is_folder = entry.is_dir()
                if (is_folder or is_image) and entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    inside = os.path.commonpath([root, target]) == root
                    if not inside and not follow_links:
                        raise ValueError(
                            f"{entry.path}: a link that leads out of the folder, to {target}; copy what it leads to, "
                            "or give ImageFolderDataModule follow_links=True"
                        )
                    if is_folder and (inside or target in outside):
                        continue
                    outside.add(target)
                if is_folder:
                    unread.append(f"{path}/")
                elif is_image:
                    found.append(path)
    if not found:
        raise ValueError(f"root: no image below {folder!r}; accepted are {', '.join(EXTENSIONS)}")
    return sorted(found)


def decode(file: str | IO[bytes], image_shape: tuple[int, int, int], name: str | None = None) -> np.ndarray:
    """Reads an image, turns it upright, scales it to cover (H, W), crops the centre: uint8 (C, H, W).

    Args:
        file: its path, or the file.
        image_shape: (C, H, W).
        name: what an error calls it; by default the path.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    channels, height, width = image_shape
    try:
        with Image.open(file, formats=FORMATS) as opened:
            image = _eight_bits(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB")
    except _UNREADABLE as error:
        raise ValueError(f"{name or file}: not a readable image: {error}") from error
    pixels = np.asarray(ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def read_header(file: str | IO[bytes], name: str) -> tuple[tuple[int, int], bool]:
    """Height and width of an image, and whether it is grey, without decoding it.

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    try:
        with Image.open(file, formats=FORMATS) as opened:
            return (opened.height, opened.width), opened.mode in ("1", "L", *GREY_16_BIT)
    except _UNREADABLE as error:
        raise ValueError(f"{name}: not a readable image: {error}") from error


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """Converts to mode L or RGB: 16-bit grey by v / 257, transparency on white."""
    if image.mode in GREY_16_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("grey values outside 0..65535")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels; 8 or 16 bits are accepted")
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)
