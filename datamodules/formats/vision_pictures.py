"""Pictures of any sizes that a data set of torchvision hands out, as uint8 of one shape."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.datasets import BatchDataset
from datamodules.decoding import UNREADABLE, Header, extremes_of, header_of, pixels_of
from datamodules.pixel_values import DEFAULT


class VisionPictures(BatchDataset):
    """Pictures scaled to cover (H, W) and cropped at the centre, uint8 (C, H, W), decoded at every access.

    Args:
        files: a data set of torchvision, of pairs that begin with a Pillow image.
        labels: class of each image (n,).
        image_shape: (C, H, W) of the result, with C 1 or 3.
        what: the files' name in messages.
        rows: of the files that are the data set (n,); None for all.
    """

    reading = DEFAULT
    pages = None

    def __init__(
        self,
        files: Any,
        labels: Tensor,
        image_shape: tuple[int, int, int],
        what: str,
        rows: Tensor | None = None,
    ):
        self.files, self.labels, self.image_shape, self.what = files, labels, image_shape, what
        self.rows = torch.arange(len(files)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images = np.stack([pixels_of(self._picture(i), self.image_shape, self.reading) for i in indices])
        return torch.from_numpy(images), self.labels[torch.tensor(indices, dtype=torch.int64)]

    def subset(self, rows: Tensor) -> "VisionPictures":
        """The data set of some of its images."""
        return VisionPictures(self.files, self.labels[rows], self.image_shape, self.what, self.rows[rows])

    def described(self, i: int) -> str:
        """What messages call image i."""
        return f"{self.what} {int(self.rows[i])}"

    def header(self, i: int) -> Header:
        """Size and mode of image i."""
        return header_of(self._picture(i))

    def extremes(self, i: int) -> tuple[float, float, float]:
        """The least and largest stored value of image i, and the one that becomes white."""
        return extremes_of(self._picture(i), self.reading)

    def examined(self, i: int) -> tuple[Header, tuple[float, float, float], np.ndarray]:
        """Header, extremes and pixels of image i, decoded once."""
        picture = self._picture(i)
        pixels = pixels_of(picture, self.image_shape, self.reading)
        return header_of(picture), extremes_of(picture, self.reading), pixels

    def _picture(self, i: int) -> Image.Image:
        try:
            picture: Image.Image = self.files[int(self.rows[i])][0]
        except UNREADABLE as error:
            raise ValueError(f"{self.described(i)}: not a readable image: {error}") from error
        return picture
