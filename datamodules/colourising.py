"""Colour images and their grey versions, as pairs."""

from typing import Any

import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.domains import Domains
from datamodules.summary import Found
from datamodules.two_domains import TwoDomains


class GreyToColourDataModule(TwoDomains):
    """The images of any data module in colour (b), and in grey (a): pairs to learn to colourise from.

    Args:
        images: colour images, (3, H, W), of which only the three splits are used, not the loaders.
        **kwargs: load_size, predict_domain, predict_folder and predict_crop of `TwoDomains`; batch_size, num_workers,
            flip, seed and the loader's options of `DataModule`.

    Raises:
        ValueError: images that have no colour.
    """

    paired = pairs = True

    def __init__(self, images: DataModule, **kwargs: Any):
        super().__init__(**kwargs)
        if len(images.image_shape) != 3 or images.image_shape[0] != 3:
            raise ValueError(f"images.image_shape={tuple(images.image_shape)}: colour images (3, H, W) are needed")
        self.images = images
        self.name = f"grey2{images.name}"
        self.keep_parts(images=images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(1, H, W) of the grey images."""
        return (1, *self.images.image_shape[1:])

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(3, H, W) of the colour images."""
        return tuple(self.images.image_shape)

    @property
    def num_classes(self) -> int:
        """Number of classes of the images."""
        return self.images.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the images."""
        return self.images.class_names

    def found(self, look: int | None) -> Found:
        """What the images' reader finds."""
        return self.images.found(look)

    def prepare_data(self) -> None:
        """Downloads what the images' data module downloads."""
        self.images.prepare_data()

    def read_domains(self) -> dict[Split, Domains]:
        """The images beside their grey versions."""
        colours: dict[Split, BatchDataset] = {split: self.images.dataset(split) for split in SPLITS}
        return {split: Domains(Grey(images), images) for split, images in colours.items()}


class Grey(BatchDataset):
    """Images (3, H, W) as their luma (1, H, W), by the weights of ITU-R BT.601 and rounded as in Pillow's mode L."""

    def __init__(self, images: BatchDataset):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images, labels = self.images.__getitems__(indices)
        weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)  # of 65,536
        grey = ((images.int() * weights).sum(1, keepdim=True) + 2**15) >> 16
        return grey.to(torch.uint8), labels
