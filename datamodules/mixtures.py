"""Mixtures of Gaussians in the plane, to count modes."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, InMemoryDataset, Split


class MixtureDataModule(DataModule):
    """Points (2,) from a ring of 8 or a grid of 25 Gaussians of equal weight; the label is the mode.

    The protocol is PacGAN's (Lin et al. 2018, arXiv:1712.04086): the ring has radius 1 and standard deviation
    0.01; the grid is {-4, -2, 0, 2, 4}² with 0.05. The training points are fixed, the same for every seed;
    val and test are 2,500 further points each.

    Args:
        kind: the arrangement of the means.
        num_points: number of training points.
        scale: radius of the ring or spacing of the grid; None for the protocol's 1 or 2.
        std: standard deviation of each Gaussian along each axis; None for the protocol's 0.01 or 0.05.
        batch_size: points per update over all processes; divisible by their number.
        num_workers: processes that load batches; 0 loads them in the main process.
        seed: seed of the training data's order; None takes the run's seed.
        persistent_workers: as in `DataModule`.
        pin_memory: as in `DataModule`.
        prefetch_factor: as in `DataModule`.
    """

    image_shape = (2,)

    def __init__(
        self,
        kind: Literal["ring", "grid"] = "grid",
        num_points: int = 100_000,
        scale: float | None = None,
        std: float | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int | None = None,
        persistent_workers: bool = False,
        pin_memory: bool = False,
        prefetch_factor: int | None = None,
    ):
        super().__init__(batch_size, num_workers, False, seed, persistent_workers, pin_memory, prefetch_factor)
        if kind not in ("ring", "grid"):
            raise ValueError(f"kind={kind!r}: must be 'ring' or 'grid'")
        if num_points < 1:
            raise ValueError(f"num_points={num_points}: must be at least 1")
        if scale is None:
            scale = 1.0 if kind == "ring" else 2.0
        if std is None:
            std = 0.01 if kind == "ring" else 0.05
        if not (scale > 0 and std > 0):
            raise ValueError(f"scale={scale}, std={std}: both must be above 0")
        self.name = "ring8" if kind == "ring" else "grid25"
        self.num_points = num_points
        self.std = std
        self.means = scale * (_ring() if kind == "ring" else _grid())

    @property
    def num_classes(self) -> int:
        """Number of modes."""
        return len(self.means)

    def read(self) -> dict[Split, BatchDataset]:
        """Draws the points of the three splits, each from its own fixed seed."""
        sizes = (self.num_points, 2_500, 2_500)
        return {split: self._draw(size, seed) for seed, (split, size) in enumerate(zip(SPLITS, sizes, strict=True))}

    def _draw(self, size: int, seed: int) -> InMemoryDataset:
        rng = np.random.default_rng(seed)
        labels = torch.from_numpy(rng.integers(len(self.means), size=size))
        noise = torch.from_numpy(rng.standard_normal((size, 2), dtype=np.float32))
        return InMemoryDataset(self.means[labels] + self.std * noise, labels)


def _ring() -> Tensor:
    """Eight means (8, 2) on the unit circle."""
    angles = torch.arange(8, dtype=torch.float64) * (2 * torch.pi / 8)
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def _grid() -> Tensor:
    """{-2, -1, 0, 1, 2}² as (25, 2)."""
    axis = torch.arange(-2.0, 3.0)
    return torch.cartesian_prod(axis, axis)
