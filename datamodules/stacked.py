"""Stacked MNIST: three digits as the channels of one image, 1,000 modes that are known and can be counted."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import SPLITS, BatchDataset, InMemoryDataset, Split, hash64
from datamodules.mnist import MNISTDataModule


class StackedDataset(BatchDataset):
    """Images (3, H, W) made of three random images (1, H, W) of another data set, when they are asked for.

    Which three is a hash of (key, index, channel): nothing is held beside the other data set. The label is the number
    that the three spell, the first channel's digit leading.

    Args:
        base: grey images of the digits 0 to 9.
        size: number of triples.
        key: chooses the triples.
    """

    def __init__(self, base: InMemoryDataset, size: int, key: tuple[int, ...]):
        self.base = base
        self.size = size
        self.key = key

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        index = np.array(indices)
        chosen = np.stack([hash64(*self.key, index, channel) % np.uint64(len(self.base)) for channel in range(3)], 1)
        digits, labels = self.base.__getitems__(chosen.ravel().tolist())
        return digits.view(-1, 3, *digits.shape[2:]), labels.view(-1, 3) @ torch.tensor([100, 10, 1])


class StackedMNISTDataModule(MNISTDataModule):
    """Stacked MNIST: colour images (3, 28, 28) of three random digits, 1,000 classes, from MNIST's files.

    The set on which modes are counted since unrolled GANs (Metz et al. 2017, arXiv:1611.02163) and VEEGAN (Srivastava
    et al. 2017, arXiv:1705.07761): 128,000 training triples of the training digits, and as many of the validation and
    test digits as there are of those. Which digits come together depends on the index alone, not on the run's seed.

    Args:
        num_triples: number of training triples.
        triples_seed: another number, other triples.
        **kwargs: root, download, val_size, batch_size, num_workers, flip and seed of `MNISTDataModule`.
    """

    name = "stacked_mnist"
    image_shape = (3, 28, 28)
    num_classes = 1000

    def __init__(self, num_triples: int = 128_000, triples_seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        if num_triples < 1:
            raise ValueError(f"num_triples={num_triples}: must be at least 1")
        if triples_seed < 0:
            raise ValueError(f"triples_seed={triples_seed}: must be at least 0")
        self.num_triples = num_triples
        self.triples_seed = triples_seed

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the digits; triples are made when they are asked for."""
        digits: dict[Split, Any] = super().read()
        return {
            split: StackedDataset(
                digits[split], self.num_triples if split == "train" else len(digits[split]), (self.triples_seed, place)
            )
            for place, split in enumerate(SPLITS)
        }
