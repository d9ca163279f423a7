"""Batches from worker processes through memory that both sides keep.

PyTorch makes a piece of shared memory for each tensor and hands its file over by a handshake between two sockets, which
takes longer than to decode a small picture. Here a worker has a few pieces, which it fills in turn, and says which one.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

ALIGNED = 64  # bytes


@dataclass
class Place:
    """Where a tensor lies in a piece of shared memory."""

    offset: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, memory: Tensor) -> Tensor:
        """The tensor, a view."""
        count = 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        flat = memory[self.offset : self.offset + count * self.dtype.itemsize].view(self.dtype)
        return flat.as_strided(self.size, self.stride)


@dataclass
class Parcel:
    """What a worker sends in the place of a batch: which piece of its memory, and the batch with places for tensors.

    Attributes:
        sender: the worker's process.
        piece: number among its pieces.
        content: the batch.
        memory: the piece itself, where it is new.
    """

    sender: int
    piece: int
    content: Any
    memory: Tensor | None


class Sender:
    """Collates nothing: ``__getitems__`` has returned the batch. In a worker it is put into shared memory.

    Of a worker's batches, so many are on their way that PyTorch asks for ahead, and one is being taken.

    Args:
        prefetch: batches that each worker loads ahead.
    """

    def __init__(self, prefetch: int):
        self.pieces: list[Tensor | None] = [None] * (prefetch + 1)
        self.turn = -1

    def __call__(self, batch: Any) -> Any:
        """The batch, or a `Parcel` of it."""
        tensors = list(_tensors(batch))
        if get_worker_info() is None or not all(map(_plain, tensors)):
            return batch
        self.turn = (self.turn + 1) % len(self.pieces)
        places, end = [], 0
        for tensor in tensors:
            places.append(Place(end, tensor.dtype, tuple(tensor.shape), tensor.stride()))
            end += -(-tensor.nbytes // ALIGNED) * ALIGNED
        memory, fresh = self.pieces[self.turn], None
        if memory is None or len(memory) < end:
            memory = fresh = self.pieces[self.turn] = torch.empty(end, dtype=torch.uint8).share_memory_()
        for place, tensor in zip(places, tensors, strict=True):
            place.of(memory).copy_(tensor)
        return Parcel(os.getpid(), self.turn, _replaced(batch, iter(places)), fresh)


class Receiver:
    """Takes batches out of the memory of the workers, who then use it again.

    Args:
        pinned: copy them into page-locked memory.
    """

    def __init__(self, pinned: bool):
        self.pinned = pinned
        self.pieces: dict[tuple[int, int], Tensor] = {}

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches as they were before they were sent, each taken before the next one is asked for."""
        for batch in batches:
            yield self.taken(batch) if isinstance(batch, Parcel) else batch

    def taken(self, parcel: Parcel) -> Any:
        """The batch in memory of its own."""
        key = parcel.sender, parcel.piece
        if parcel.memory is not None:
            self.pieces[key] = parcel.memory
        memory = self.pieces[key]
        views = (place.of(memory) for place in _places(parcel.content))
        return _replaced(parcel.content, (view.pin_memory() if self.pinned else view.clone() for view in views))


def _plain(tensor: Tensor) -> bool:
    """Whether a tensor is one piece of ordinary memory, in any order of its dimensions, as all pictures are."""
    dense = tensor.numel() > 0 and torch.ops.aten.is_non_overlapping_and_dense(tensor)
    return dense and tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.requires_grad


def _leaves(batch: Any, kind: type) -> Iterator[Any]:
    if isinstance(batch, kind):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _leaves(value, kind)
    elif isinstance(batch, tuple | list):
        for value in batch:
            yield from _leaves(value, kind)


def _tensors(batch: Any) -> Iterator[Tensor]:
    return _leaves(batch, Tensor)


def _places(batch: Any) -> Iterator[Place]:
    return _leaves(batch, Place)


def _replaced(batch: Any, others: Iterator[Any]) -> Any:
    """The batch with its tensors, or places, replaced in their order."""
    if isinstance(batch, Tensor | Place):
        return next(others)
    if isinstance(batch, dict):
        return {key: _replaced(value, others) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)([_replaced(value, others) for value in batch])
    return batch
