"""Images as pictures: grids of them, and files."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_gen.files import whole_file

JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")  # suffixes
GAP = 2  # pixels between the images of a grid


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to 0 ... 255, rounded; what lies outside is cut off, and what is no number becomes black."""
    return ((images.detach().float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def image_grid(images: Tensor, columns: int | None = None, cell: int = 48) -> Tensor:
    """Images side by side as one uint8 picture ``(C, H, W)``.

    [-1, 1] becomes [0, 255] whatever the images' own range; values outside are cut off. Small images are magnified by a
    whole factor without smoothing, until their longer side has at least ``cell`` pixels.

    Args:
        images: ``(N, C, H, W)`` with N > 0 and 1 (grey, kept so) or 3 channels.
        columns: images in a row; by default the grid is about square.
        cell: pixels.

    Raises:
        ValueError: another shape, or ``columns`` or ``cell`` below 1.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images of shape {tuple(images.shape)}: expected (N, C, H, W) with 1 or 3 channels")
    if cell < 1 or (columns is not None and columns < 1):
        raise ValueError(f"columns={columns}, cell={cell}: at least 1 is needed")
    pixels = to_uint8(images).cpu()
    factor = math.ceil(cell / max(pixels.shape[-2:]))
    pixels = pixels.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    count, channels, height, width = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    grid = pixels.new_full((channels, rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), 128)
    for i in range(count):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        grid[:, top : top + height, left : left + width] = pixels[i]
    return grid


def paired_grid(images: Tensor, others: Tensor, columns: int = 8) -> Tensor:
    """Rows of images, each above the row of what belongs to them, as a uint8 picture ``(C, H, W)``.

    Args:
        images: ``(N, C, H, W)`` in [-1, 1].
        others: Of the same shape.
        columns: Images in a row.
    """
    columns = max(1, min(columns, len(images)))
    blank = images.new_zeros(-len(images) % columns, *images.shape[1:])  # of the colour between images
    rows = zip(*(torch.cat([x.to(images), blank]).split(columns) for x in (images, others)), strict=True)
    return image_grid(torch.cat([part for row in rows for part in row]), columns)


def save_png(path: str | Path, image: Tensor, caption: str = "") -> None:
    """Write a uint8 picture ``(C, H, W)`` of 1 or 3 channels. The file appears whole or not at all.

    Args:
        path: The file.
        image: The picture.
        caption: Kept in the file as its ``Description``.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if caption:
        info.add_itxt("Description", caption)
    with whole_file(path) as file:
        Image.fromarray(channels_last(image)).save(file, format="PNG", pnginfo=info)


def save_picture(path: str | Path, image: Tensor) -> None:
    """As :func:`save_png`, but a JPEG file of quality 95, its colours at full resolution, by a suffix of those."""
    from PIL import Image

    if not str(path).lower().endswith(JPEG):
        save_png(path, image)
        return
    with whole_file(path) as file:
        Image.fromarray(channels_last(image)).save(file, format="JPEG", quality=95, subsampling=0)


def channels_last(picture: Tensor) -> np.ndarray:
    """A picture ``(C, H, W)`` as ``(H, W, C)``, or ``(H, W)`` if it is grey."""
    array = picture.movedim(0, -1).contiguous().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array
