"""Digits and recoloured digits: translation whose true answer is known."""

from typing import Any

import torch
from torch import Tensor

from datamodules.datasets import SPLITS, InMemoryDataset, Split
from datamodules.digits import DigitsDataModule
from datamodules.domains import Domains
from datamodules.two_domains import TwoDomains

PAPER = (0.95, 0.80, 0.30)  # red, green, blue in [0, 1] where the grey digit is black
INK = (0.10, 0.15, 0.60)  # where it is white
CONTRAST = 0.7  # exponent of the grey value


def recolour(grey: Tensor) -> Tensor:
    """Blue ink on yellow paper for grey values v: paper + (ink − paper) v^0.7 in every channel.

    Args:
        grey: values in [0, 1], ``(N, 1, H, W)``.

    Returns:
        colours in [0, 1], ``(N, 3, H, W)``. The map is invertible: each channel is strictly monotone in v.
    """
    paper, ink = (grey.new_tensor(colour).view(3, 1, 1) for colour in (PAPER, INK))
    return paper + (ink - paper) * grey**CONTRAST


class RecolouredDigitsDataModule(TwoDomains):
    """scikit-learn's digits in grey (a) and recoloured (b), both (3, 8, 8), 10 classes, nothing to download.

    The two training domains are disjoint halves of the 1,197 training digits (599 and 598): no digit has its
    counterpart, unless ``pairs`` asks for it. In the splits val and test (300 digits each) image i of b is `recolour`
    of image i of a, so that the error against the true map is measured.

    Args:
        pairs: whether the training domains are all 1,197 digits, and image i of b is `recolour` of image i of a.
        **kwargs: load_size, predict_domain, predict_folder and predict_crop of `TwoDomains`; batch_size, num_workers,
            flip and seed of `DataModule`.
    """

    name = "recoloured_digits"
    image_shape = (3, 8, 8)
    num_classes = 10
    paired = True

    def __init__(self, pairs: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.pairs = pairs

    def read_domains(self) -> dict[Split, Domains]:
        """Divides the training digits by their position, even and odd."""
        digits = DigitsDataModule()
        splits: dict[Split, Domains] = {}
        for split in SPLITS:
            images, labels = digits.dataset(split).__getitems__(list(range(len(digits.dataset(split)))))
            grey = images.expand(-1, 3, -1, -1).contiguous()
            colour = (recolour(images.double() / 255) * 255).round().to(torch.uint8)
            halved = split == "train" and not self.pairs
            first, second = (slice(0, None, 2), slice(1, None, 2)) if halved else (slice(None), slice(None))
            splits[split] = Domains(
                InMemoryDataset(grey[first], labels[first]), InMemoryDataset(colour[second], labels[second])
            )
        return splits
