"""A bounded number of held-out images for a variational module, each with random numbers of its own."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from lit_gen.metrics import LatentUnits
from lit_gen.modules.variational import VariationalModule
from lit_gen.precision import float64_device
from lit_gen.training.randomness import NORMAL_BLOCK, mix

FAST_DEV_IMAGES = 8  # in a fast_dev_run


class ItemRandomness:
    """Random numbers of a batch's images that depend on each image's index alone.

    Neither batches, processes nor the parts in which numbers are asked for change them, as long as all parts but the
    last are multiples of 16.
    """

    def __init__(self, indices: list[int], *key: int | str) -> None:
        self._generators = [torch.Generator().manual_seed(mix(*key, i)) for i in indices]

    def normal(self, n: int, dim: int) -> Tensor:
        """The next n vectors N(0, 1) of each image, ``(N, n, dim)`` float32."""
        rows = -(-n // NORMAL_BLOCK) * NORMAL_BLOCK
        return torch.stack([torch.randn(rows, dim, generator=generator)[:n] for generator in self._generators])

    def uniform(self, *shape: int) -> Tensor:
        """The next U[0, 1) of each image, ``(N, *shape)`` float32."""
        return torch.stack([torch.rand(shape, generator=generator) for generator in self._generators])


@dataclass
class HeldOutBatch:
    """Images with what the likelihood makes of them, the same at every evaluation.

    Args:
        images: ``(N, *image_shape)`` in [-1, 1].
        x: What the likelihood models, ``(N, *image_shape)``.
        labels: Nothing, or those ``(N,)`` of a conditional model.
        random: Noise for z.
    """

    images: Tensor
    x: Tensor
    labels: tuple[Tensor, ...]
    random: ItemRandomness


def count_images(trainer: L.Trainer, split: str, num_images: int | None) -> int:
    """How many of a split's images to take."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    limit = num_images or len(data.dataset(split))
    return min(len(data.dataset(split)), FAST_DEV_IMAGES if trainer.fast_dev_run else limit)  # type: ignore[attr-defined]


def held_out(
    trainer: L.Trainer, module: VariationalModule, split: str, num_images: int | None, batch_size: int, seed: int
) -> Iterator[HeldOutBatch]:
    """This process's share of ``num_images`` images, spread evenly over a split (None for all), in batches."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    dataset, count = data.dataset(split), count_images(trainer, split, num_images)
    chosen = [i * len(dataset) // count for i in range(count)][trainer.global_rank :: trainer.world_size]
    for start in range(0, len(chosen), batch_size):
        indices = chosen[start : start + batch_size]
        pixels, labels = (x.to(module.device) for x in dataset.__getitems__(indices))
        images = data.to_float(pixels).to(module.dtype)
        random = ItemRandomness(indices, seed, "held out", split)
        x = module.active("likelihood").observe(images, random.uniform(*module.image_shape).to(images))
        yield HeldOutBatch(images, x, module.labels_of((images, labels)), random)


def images_at_once(module: VariationalModule, samples: int, memory_mib: int) -> int:
    """Images of which ``samples`` samples each can be decoded within a memory, counting 16 copies of the output."""
    output = 4 * math.prod(module.likelihood.parameter_shape)
    return max(1, memory_mib * 2**20 // (16 * output * samples))


@torch.no_grad()
def latent_units(
    trainer: L.Trainer,
    module: VariationalModule,
    split: str,
    num_images: int | None,
    samples: int = 4,
    memory_mib: int = 256,
    seed: int = 0,
) -> list[LatentUnits]:
    """The units of each stochastic layer, nearest to x first, by ``samples`` samples of q an image."""
    units: list[LatentUnits] = []
    batch_size = images_at_once(module, samples, memory_mib)
    with module.evaluating():
        for batch in held_out(trainer, module, split, num_images, batch_size, seed):
            noise = batch.random.normal(samples, module.noise_dim).to(batch.x)
            layers = module.terms(batch.x, noise, *batch.labels).layers
            units = units or [LatentUnits(layer.z[0, 0].numel()).to(float64_device(module.device)) for layer in layers]
            for unit, layer in zip(units, layers, strict=True):
                unit.update(layer)
    return units
