"""Which axes of an array count the images, their channels, rows and columns."""

from typing import Literal, get_args

import numpy as np

from datamodules.formats.containers import Member

Layout = Literal["auto", "NHWC", "NCHW", "HWCN"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
CHANNELS = (1, 3, 4)
CHUNK = 1024  # images that are handled at once


def axes_of(member: Member, layout: Layout, count: int | None, path: str) -> tuple[int, ...]:
    """The stored axes in the order (N, C, H, W), (N, H, W) or (N, D).

    Args:
        member: an array of 2 to 4 axes.
        layout: of four axes, or ``auto``. ``HWCN``, as MATLAB has images, also says of fewer axes that the last is N.
        count: of the labels, if there are some; it tells the last axis from the first.
        path: of the file, for the error.

    Raises:
        ValueError: the layout isn't clear.
    """
    shape, size = member.shape, len(member.shape)
    counted_last = size > 2 and count is not None and shape[0] != count == shape[-1]
    if layout == "HWCN" or (layout == "auto" and counted_last):
        return {2: (1, 0), 3: (2, 0, 1), 4: (3, 2, 0, 1)}[size]
    if size < 4 or layout == "NCHW":
        return tuple(range(size))
    if layout == "NHWC":
        return (0, 3, 1, 2)
    last, second, third = (shape[axis] in CHANNELS for axis in (3, 1, 2))
    if last == second and not (third and not last):
        raise ValueError(
            f"{path}: {member}: {'both' if last else 'neither'} of the last and the second axis "
            "could be the 1, 3 or 4 channels; say layout='NHWC', layout='NCHW' or layout='HWCN'"
        )
    return (0, 3, 1, 2) if last else (0, 1, 2, 3) if second else (3, 2, 0, 1)


def arranged(images: np.ndarray) -> np.ndarray:
    """A view (N, ...) as a contiguous array, in its own memory where the images lie there one after another."""
    order = sorted(range(images.ndim), key=lambda axis: -images.strides[axis])
    stored = images.transpose(order)
    if images.flags.c_contiguous or order[0] != 0 or not (stored.flags.c_contiguous and images.flags.writeable):
        return np.ascontiguousarray(images)
    flat = stored.reshape(len(images), -1)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        flat[start : start + CHUNK] = part.reshape(len(part), -1)
    return flat.reshape(images.shape)
