"""Loaders whose order is a function of (seed, epoch) only, and that resume in the middle of an epoch.

The samplers derive from `DistributedSampler` because Lightning then keeps them and calls `set_epoch`; the
sharding is their own. Position t of the order goes to rank t mod W, so that the W processes together see
exactly the batches that one process would see.
"""

import warnings
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler

from datamodules.transport import Receiver, Sender

PREFETCHED = 2  # batches that a worker loads ahead, by PyTorch's default


class ShuffledSampler(DistributedSampler[int]):
    """This process' part of a fresh permutation per epoch, cut into global batches.

    Global batch t is ``permutation[t * batch_size : (t + 1) * batch_size]``, of which rank r takes positions
    r::W. The last incomplete global batch is dropped.

    Args:
        dataset: anything with a length.
        batch_size: images per update over all processes, a multiple of `world_size`.
        rank: this process.
        world_size: number of processes.
        seed: chooses the sequence of permutations.
    """

    def __init__(self, dataset: Sized, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0):
        super().__init__(dataset, world_size, rank, seed=seed)  # type: ignore[arg-type]
        self.size = len(dataset)
        self.batch_size = batch_size
        self.num_batches = self.size // batch_size
        self.start = 0  # batches of the epoch to leave out, set by ResumableLoader

    def __iter__(self) -> Iterator[int]:
        order = self.permutation(np.random.default_rng((self.seed, self.epoch)))
        batches = order[: self.num_batches * self.batch_size].reshape(self.num_batches, self.batch_size)
        return iter(batches[self.start :, self.rank :: self.num_replicas].ravel().tolist())

    def permutation(self, generator: np.random.Generator) -> np.ndarray:
        """Indices of all images, in the order of an epoch."""
        return generator.permutation(self.size)

    def __len__(self) -> int:
        return self.num_batches * self.batch_size // self.num_replicas


class WindowSampler(ShuffledSampler):
    """An epoch that visits pieces of a data set in a random order, and shuffles the images within windows of it.

    Pieces are shards, or rows that are read together; so a process reads few of them at a time, forwards. The order is
    a function of (seed, epoch): the same for any number of processes and workers, and after any batch.

    Args:
        dataset: with ``pieces``, the number of each image's piece (N,), those of one side by side.
        window: images of a window; that of the whole split is a plain permutation.
        **kwargs: of `ShuffledSampler`.
    """

    def __init__(self, dataset: Any, window: int, **kwargs: Any):
        super().__init__(dataset, **kwargs)
        self.bounds = np.flatnonzero(np.diff(dataset.pieces)) + 1  # where a piece begins
        self.window = window

    def permutation(self, generator: np.random.Generator) -> np.ndarray:
        """Indices of all images, in the order of an epoch."""
        pieces = np.split(np.arange(self.size), self.bounds)
        order = np.concatenate([pieces[i] for i in generator.permutation(len(pieces))])
        for start in range(0, self.size, self.window):
            generator.shuffle(order[start : start + self.window])
        return order


class ShardSampler(DistributedSampler[int]):
    """Every index once and in order: rank r takes r::W. Shards may differ by one, nothing is padded."""

    def __init__(self, dataset: Sized, rank: int = 0, world_size: int = 1):
        super().__init__(dataset, world_size, rank)  # type: ignore[arg-type]
        self.indices = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class Loader(DataLoader[Any]):
    """A `DataLoader` over a data set with ``__getitems__`` that leaves the global random numbers alone.

    Args:
        dataset: the data set.
        **kwargs: of `DataLoader`. By name only: Lightning passes them again with changes.
    """

    def __init__(self, dataset: Any, **kwargs: Any):
        self._sender = Sender(kwargs.get("num_workers", 0), kwargs.get("prefetch_factor") or PREFETCHED)
        super().__init__(dataset, **{**kwargs, "collate_fn": self._sender, "generator": torch.Generator()})
        self._receiver = self._new_receiver()

    def _new_receiver(self) -> Receiver:
        return Receiver(self._sender.arrived, self.pin_memory and torch.cuda.is_available())

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.num_workers == 0:
            return super().__iter__()
        receiver = self._receiver if self.persistent_workers else self._new_receiver()
        return receiver(super().__iter__())


class ResumableLoader(Loader):
    """The training loader, over a `ShuffledSampler`; checkpoints hold its position.

    The state names the epoch it belongs to. Lightning may hand it back after that epoch was finished, when
    the next epoch has to start at its first batch.

    Without workers, ``round_length`` batches are fetched by one indexing operation and handed out one by one: those
    of one or more rounds of critic steps.
    """

    round_length = 1
    _epoch = 0
    _batch = 0
    _loaded = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator's body runs at the first next(). Lightning calls iter() earlier, before set_epoch().
        sampler = self.sampler
        if not isinstance(sampler, ShuffledSampler):  # Trainer(overfit_batches=...) puts in a sequential one
            yield from super().__iter__()
            return
        sampler.start = self._batch if self._loaded and self._epoch == sampler.epoch else 0
        self._epoch, self._batch, self._loaded = sampler.epoch, sampler.start, False
        self.generator.manual_seed(sampler.seed + sampler.epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(sampler.epoch)
        for batch in self._in_rounds(sampler) if self.round_length > 1 else super().__iter__():
            self._batch += 1
            yield batch

    def _in_rounds(self, sampler: ShuffledSampler) -> Iterator[tuple[torch.Tensor, ...]]:
        assert self.batch_size is not None
        dataset: Any = self.dataset
        indices, size = list(sampler), self.round_length * self.batch_size
        for start in range(0, len(indices), size):
            fetched = dataset.__getitems__(indices[start : start + size])
            yield from zip(*(tensor.split(self.batch_size) for tensor in fetched), strict=True)

    def state_dict(self) -> dict[str, int]:
        """The position, and what the order depends on."""
        sampler = self.sampler
        order = {name: int(getattr(sampler, name, 0)) for name in ("seed", "batch_size", "size")}
        return {"epoch": self._epoch, "batch": self._batch, **order}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues after the stored batch; warns if the order is another one than the checkpoint's."""
        own = self.state_dict()
        changed = [f"{k}={own[k]} (was {state[k]})" for k in ("seed", "batch_size", "size") if own[k] != state[k]]
        if changed:
            warnings.warn(
                f"The training data's order differs from the checkpoint's: {', '.join(changed)}. "
                "This epoch may repeat or leave out images.",
                stacklevel=2,
            )
        self._epoch, self._batch, self._loaded = state["epoch"], state["batch"], True
