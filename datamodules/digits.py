"""scikit-learn's handwritten digits: small, inside the package, no download."""

from typing import Any

import numpy as np
import torch

from datamodules.base import DataModule
from datamodules.datasets import BatchDataset, InMemoryDataset, Split


class DigitsDataModule(DataModule):
    """The 1,797 digits of ``sklearn.datasets.load_digits``: (1, 8, 8), 10 classes, nothing to download.

    The grey values 0..16 are scaled to 0..255. The splits are fixed and stratified by class: train 1,197, val
    300, test 300 images, the same for every seed.

    Args:
        **kwargs: batch_size, num_workers, flip and seed of `DataModule`.
    """

    name = "digits"
    image_shape = (1, 8, 8)
    num_classes = 10

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def read(self) -> dict[Split, BatchDataset]:
        """Scales the images and divides them."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(np.round(digits.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
        labels = torch.from_numpy(digits.target.astype(np.int64))
        return {split: InMemoryDataset(images[i], labels[i]) for split, i in _stratified(digits.target).items()}


def _stratified(labels: np.ndarray) -> dict[Split, np.ndarray]:
    """Indices of each split: of the images ordered by class, about every sixth is val, its neighbour test."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    val = np.arange(300) * len(labels) // 300
    test = val + 1
    train = np.setdiff1d(np.arange(len(labels)), np.concatenate([val, test]))
    return {"train": np.sort(by_class[train]), "val": np.sort(by_class[val]), "test": np.sort(by_class[test])}
