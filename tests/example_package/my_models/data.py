"""A data set."""

import torch

from datamodules import BatchDataset, DataModule, InMemoryDataset, Split


class BarsDataModule(DataModule):
    """1,200 images (1, 8, 8) of bars: of class 0 whole rows are white, of class 1 whole columns."""

    name = "bars"
    image_shape = (1, 8, 8)
    num_classes = 2

    def __init__(self, probability: float = 0.3, batch_size: int = 64, num_workers: int = 0, seed: int | None = None):
        super().__init__(batch_size, num_workers, seed=seed)
        self.probability = probability

    def read(self) -> dict[Split, BatchDataset]:
        """uint8 images ``(N, C, H, W)`` and int64 labels ``(N,)`` of each split; called once."""
        generator = torch.Generator().manual_seed(0)
        white = torch.rand(1200, 1, 8, 1, generator=generator) < self.probability
        rows = white.expand(-1, -1, -1, 8).to(torch.uint8) * 255
        labels = torch.randint(2, (1200,), generator=generator)
        images = torch.where(labels.view(-1, 1, 1, 1) == 1, rows.mT, rows)
        parts: dict[Split, slice] = {"train": slice(0, 800), "val": slice(800, 1000), "test": slice(1000, 1200)}
        return {split: InMemoryDataset(images[part], labels[part]) for split, part in parts.items()}
