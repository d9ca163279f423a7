"""scikit-learn's handwritten digits: small, inside the package, no download."""

import gzip
import importlib.util
from pathlib import Path
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
        values, target = load_digits()
        images = torch.from_numpy(np.round(values * 255 / 16).astype(np.uint8)).unsqueeze(1)
        labels = torch.from_numpy(target)
        return {split: InMemoryDataset(images[i], labels[i]) for split, i in _stratified(target).items()}


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Grey values 0..16 (N, 8, 8), float64, and classes (N,), int64, as scikit-learn's function of that name.

    From scikit-learn's file, by itself: importing the package, and pandas with it, takes longer than a hundred steps.
    """
    spec = importlib.util.find_spec("sklearn")
    file = Path(spec.origin if spec is not None and spec.origin else "").parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():  # moved in another version, or no scikit-learn at all, of which its import tells
        from sklearn import datasets

        digits = datasets.load_digits()
        return digits.images, digits.target.astype(np.int64)
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def _stratified(labels: np.ndarray) -> dict[Split, np.ndarray]:
    """Indices of each split: of the images ordered by class, about every sixth is val, its neighbour test."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    val = np.arange(300) * len(labels) // 300
    test = val + 1
    train = np.setdiff1d(np.arange(len(labels)), np.concatenate([val, test]))
    return {"train": np.sort(by_class[train]), "val": np.sort(by_class[val]), "test": np.sort(by_class[test])}
