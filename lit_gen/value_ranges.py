"""The one way of images into scores: their range is stated, eight bits deep, and grey becomes colour where needed."""

from typing import Literal

import torch
from torch import Tensor

Values = Literal["uint8", "unit", "signed"]
RANGES: dict[str, tuple[float, float]] = {"uint8": (0, 255), "unit": (0, 1), "signed": (-1, 1)}


def to_signed(images: Tensor, values: Values, channels: int | None = None) -> Tensor:
    """Images as extractors take them: float32 in [-1, 1], on the 256 levels of an 8-bit file.

    What the numbers mean is never guessed from them: float images are scaled by the stated range, rounded to the
    nearest level (half to even) and cut off at the range's ends, so that samples are judged as the files they would
    be saved to, and data read from files come out as they are. NaN stays NaN.

    Args:
        images: ``(N, C, H, W)``; uint8 for ``values="uint8"``, floating-point otherwise.
        values: ``uint8`` 0..255, ``unit`` [0, 1] or ``signed`` [-1, 1].
        channels: of the result; grey images are repeated to 3. None leaves them.

    Raises:
        ValueError: a range that is not known, a type that doesn't go with it, or channels that don't fit.
    """
    if values not in RANGES:
        raise ValueError(f"values={values!r}: accepted are {', '.join(RANGES)}")
    if images.ndim != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}: expected (N, C, H, W)")
    if (images.dtype == torch.uint8) != (values == "uint8") or not (
        images.is_floating_point() or images.dtype == torch.uint8
    ):
        raise ValueError(
            f"values={values!r}: needs {'uint8' if values == 'uint8' else 'float'} images, not {images.dtype}"
        )
    low, high = RANGES[values]
    levels = (
        images.float() if values == "uint8" else ((images.float() - low) * (255 / (high - low))).round().clamp(0, 255)
    )
    signed = levels / 127.5 - 1
    if channels is None or channels == images.shape[1]:
        return signed
    if (images.shape[1], channels) != (1, 3):
        raise ValueError(f"images of {images.shape[1]} channels: {channels} are needed, and only grey becomes colour")
    return signed.expand(-1, 3, -1, -1)
