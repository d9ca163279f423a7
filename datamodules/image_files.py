"""Image files: finding them, and decoding them to uint8 of one shape."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.datasets import BatchDataset

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff")
GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageFiles(BatchDataset):
    """Image files as uint8 (C, H, W), decoded at every access.

    Args:
        paths: the files.
        labels: class of each file (N,).
        image_shape: (C, H, W) of the result, with C 1 or 3.
    """

    def __init__(self, paths: list[str], labels: Tensor, image_shape: tuple[int, int, int]):
        self.paths = paths
        self.labels = labels
        self.image_shape = image_shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images = np.stack([decode(self.paths[i], self.image_shape) for i in indices])
        return torch.from_numpy(images), self.labels[torch.tensor(indices)]


def find_images(folder: Path) -> list[str]:
    """Paths ``a/b.png``, relative to `folder`, of the images below it, sorted; hidden ones are passed over.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no file below it has one of the `EXTENSIONS`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"root: there is no folder {str(folder)!r}")
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder)
        images = [name for name in files if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
        found += [(below / name).as_posix() for name in images]
    if not found:
        raise ValueError(f"root: no image below {str(folder)!r}; accepted are {', '.join(EXTENSIONS)}")
    return sorted(found)


def decode(path: str, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Reads an image, turns it upright, scales it to cover (H, W), crops the centre: uint8 (C, H, W).

    Raises:
        ValueError: the file can't be read as an image; names it.
    """
    channels, height, width = image_shape
    try:
        with Image.open(path) as file:
            image = _eight_bits(ImageOps.exif_transpose(file), "L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from error
    pixels = np.asarray(ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


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
