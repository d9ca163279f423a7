"""The base of all data modules: splits, loaders, random flips, and the way from uint8 to [-1, 1]."""

import os
from abc import ABC, abstractmethod
from typing import Any

import lightning as L
from torch import Tensor

from datamodules.datasets import SPLITS, BatchDataset, InMemoryDataset, RandomFlip, Split, to_float
from datamodules.loader import Loader, ResumableLoader, ShardSampler, ShuffledSampler
from datamodules.summary import LOOKED, Found, Summary, class_counts, listed, look_in_memory

FETCHED = 8  # batches, at least, that one indexing operation fetches from memory


class DataModule(L.LightningDataModule, ABC):
    """Images or points with labels, in the splits train, val and test.

    A batch is ``(images, labels)``: images float32 in [-1, 1] of shape (N, C, H, W), or points (N, D); labels
    int64 (N,), all 0 where the data has none. The training order is a function of (seed, epoch) only,
    whatever the number of processes, and continues in the middle of an epoch when a run is resumed.
    Validation, test and prediction go through their split in order, each image once over all processes;
    prediction uses the test split.

    A concrete module says `name`, `image_shape` and `num_classes`, and implements `read`.

    Args:
        batch_size: images per update over all processes; divisible by their number, at most the training
            split.
        num_workers: processes that load batches; 0 loads them in the main process, which is best for data in
            memory.
        flip: mirror each training image left to right with probability one half.
        seed: seed of the training data's order; None takes the run's seed (``seed_everything``), else 0.
        persistent_workers: keep the worker processes from one epoch to the next.
        pin_memory: put batches into page-locked memory, from which they reach a GPU faster.
        prefetch_factor: batches that each worker loads ahead; None for PyTorch's 2.
    """

    name: str

    def __init__(
        self,
        batch_size: int = 64,
        num_workers: int = 0,
        flip: bool = False,
        seed: int | None = None,
        persistent_workers: bool = False,
        pin_memory: bool = False,
        prefetch_factor: int | None = None,
    ):
        super().__init__()
        self.save_hyperparameters()  # collects the arguments of the concrete module's constructor too
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        if num_workers < 0:
            raise ValueError(f"num_workers={num_workers}: must be at least 0")
        if seed is not None and seed < 0:
            raise ValueError(f"seed={seed}: must be at least 0, or None for the run's seed")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"prefetch_factor={prefetch_factor}: must be at least 1, or None")
        if num_workers == 0 and (persistent_workers or prefetch_factor is not None):
            raise ValueError(
                f"num_workers=0: persistent_workers={persistent_workers} and prefetch_factor={prefetch_factor} are for "
                "worker processes; give num_workers of at least 1"
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.loading: dict[str, Any] = {
            "num_workers": num_workers,
            "persistent_workers": persistent_workers,
            "pin_memory": pin_memory,
            "prefetch_factor": prefetch_factor,
        }
        self.flip = flip
        self.seed = seed
        self._datasets: dict[Split, BatchDataset] = {}

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image or (D,) of a point, known before the data is read."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes, 0 if the data has no labels; known before the images are read."""

    @property
    def holds(self) -> str:
        """What a batch has: ``images``, points included, or ``latents`` or ``codes`` of images."""
        return "images"

    @property
    def bounded(self) -> bool:
        """Whether all values lie in [-1, 1], as those of images do."""
        return len(self.image_shape) == 3

    @property
    def num_codes(self) -> int:
        """Number of values that a batch's whole numbers have, where it has such; else 0."""
        return 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for each class, in the order of the labels; its number where the data say none."""
        return tuple(map(str, range(self.num_classes)))

    @abstractmethod
    def read(self) -> dict[Split, BatchDataset]:
        """Reads the data set of each split; called once."""

    def dataset(self, split: Split) -> BatchDataset:
        """The data set of a split, without random flips; uint8 images or float32 points."""
        if split not in SPLITS:
            raise ValueError(f"split={split!r}: must be one of {', '.join(SPLITS)}")
        if not self._datasets:
            self._datasets = self.read()
        return self._datasets[split]

    def summary(self, look: int | None = LOOKED) -> Summary:
        """What was found: numbers of images and classes, and of some images sizes, channels and values.

        Args:
            look: about how many images to read for it; None for all.
        """
        datasets = {split: self.dataset(split) for split in SPLITS}
        sizes: dict[str, int] = {split: len(part) for split, part in datasets.items()}
        classes = self.class_names
        counts = class_counts(datasets["train"], classes)
        return Summary(self.name, sizes, tuple(self.image_shape), counts, self.found(look))

    def found(self, look: int | None) -> Found:
        """What the reader finds beside the images; here the values of some of them."""
        return look_in_memory([self.dataset(split) for split in SPLITS], look)

    @staticmethod
    def to_float(images: Tensor) -> Tensor:
        """Maps uint8 0..255 to float32 [-1, 1] by x / 127.5 - 1; floats are returned as they are."""
        return to_float(images)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turns a batch's images into float32, float64 under ``64-true``, on the device that trains."""
        images, labels = batch
        return self.in_precision((self.to_float(images), labels))

    def in_precision(self, batch: Any) -> Any:
        """The batch in the trainer's precision, which the trainer itself gives to stored values only."""
        return batch if self.trainer is None else self.trainer.precision_plugin.convert_input(batch)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches of ``batch_size / number of processes``, the last incomplete one dropped.

        Raises:
            ValueError: batch_size doesn't suit the processes or the training split, points should flip, or the model
                is conditional and a class has no training image.
        """
        dataset, (rank, world_size) = self.dataset("train"), self._process()
        if self.batch_size % world_size:
            raise ValueError(f"batch_size={self.batch_size}: must be divisible by the {world_size} processes")
        if self.batch_size > len(dataset):
            raise ValueError(
                f"batch_size={self.batch_size}: must not be larger than the training split of {self.name}, "
                f"which has {len(dataset)} images"
            )
        if self.flip and self.holds == "images" and len(self.image_shape) != 3:
            raise ValueError(f"flip=True: {self.name} holds points, only images can be mirrored")
        if getattr(getattr(self.trainer, "lightning_module", None), "conditional", False):
            self._check_classes(dataset)
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed
        loader = ResumableLoader(
            self.augmented(dataset, seed),
            batch_size=self.batch_size // world_size,
            sampler=self.order(dataset, rank, world_size, seed),
            drop_last=True,
            **self.loading,
        )
        if self.num_workers == 0:
            n_critic: int = getattr(getattr(self.trainer, "lightning_module", None), "n_critic", 1)
            rounds = -(-FETCHED // n_critic) if isinstance(dataset, InMemoryDataset) else 1
            loader.round_length = rounds * n_critic
        return loader

    def order(self, dataset: BatchDataset, rank: int, world_size: int, seed: int) -> ShuffledSampler:
        """The order of training, a function of (seed, epoch)."""
        return ShuffledSampler(dataset, self.batch_size, rank, world_size, seed)

    def augmented(self, dataset: BatchDataset, seed: int) -> BatchDataset:
        """The training data with their random changes, functions of (seed, epoch, index)."""
        return RandomFlip(dataset, seed) if self.flip else dataset

    def val_dataloader(self) -> Loader | list[Loader]:
        """The validation split in order; an empty list, which skips validation, if there is none."""
        return self._in_order(self.dataset("val"))

    def test_dataloader(self) -> Loader | list[Loader]:
        """The test split in order; an empty list if there is none."""
        return self._in_order(self.dataset("test"))

    def predict_dataloader(self) -> Loader | list[Loader]:
        """The test split in order; an empty list if there is none."""
        return self._in_order(self.dataset("test"))

    def _in_order(self, dataset: BatchDataset, batch_size: int | None = None) -> Loader | list[Loader]:
        rank, world_size = self._process()
        if len(dataset) == 0:
            return []
        sampler = ShardSampler(dataset, rank, world_size)
        batch_size = batch_size or max(1, self.batch_size // world_size)
        return Loader(dataset, batch_size=batch_size, sampler=sampler, **self.loading)

    def _check_classes(self, dataset: BatchDataset) -> None:
        """Refuses classes that a conditional model would be asked for without having seen them."""
        counts = class_counts(dataset, self.class_names)
        empty = [name for name, count in counts.items() if count == 0]
        if empty:
            raise ValueError(
                f"{self.name}: no training image of {len(empty)} of {len(counts)} classes ({listed(empty)}), which "
                "conditional=True would draw all the same; leave them out, which for numbers with gaps renumber=True "
                "does, or train without conditional"
            )

    def _process(self) -> tuple[int, int]:
        """This process' rank and the number of processes."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
