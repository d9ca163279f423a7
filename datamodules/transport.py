"""Batches from worker processes through memory that both sides keep.

PyTorch makes a piece of shared memory for each tensor and hands its file over by a handshake between two sockets, which
takes longer than to decode a small picture. Here a worker has a few pieces, which it fills in turn, and says which one.
"""

import secrets
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
        sender: number of the worker.
        piece: number among its pieces.
        mark: of this memory alone; a larger piece in its place has another.
        content: the batch.
        memory: the piece itself, where no receiver has said yet that it has it.
    """

    sender: int
    piece: int
    mark: int
    content: Any
    memory: Tensor | None


class Sender:
    """Collates nothing: ``__getitems__`` has returned the batch. In a worker it is put into shared memory.

    Of a worker's batches, so many are on their way that PyTorch asks for ahead, and one is being taken. Those on their
    way when a loop is left are thrown away by PyTorch, and with them the memory that they bring; so a worker
    sends it until it sees, in numbers that both sides share, that it has arrived.

    Args:
        workers: number of workers.
        prefetch: batches that each loads ahead.
    """

    def __init__(self, workers: int, prefetch: int):
        self.arrived = torch.zeros(workers, prefetch + 1, dtype=torch.int64)
        if workers:
            self.arrived.share_memory_()
        self.pieces: list[tuple[int, Tensor | None]] = [(0, None)] * (prefetch + 1)
        self.turn = -1

    def __call__(self, batch: Any) -> Any:
        """The batch, or a `Parcel` of it."""
        tensors, worker = list(_leaves(batch, Tensor)), get_worker_info()
        if worker is None or not all(map(_plain, tensors)):
            return batch
        self.turn = (self.turn + 1) % len(self.pieces)
        places, end = [], 0
        for tensor in tensors:
            places.append(Place(end, tensor.dtype, tuple(tensor.shape), tensor.stride()))
            end += -(-tensor.nbytes // ALIGNED) * ALIGNED
        mark, memory = self.pieces[self.turn]
        if memory is None or len(memory) < end:
            mark, memory = secrets.randbits(62), torch.empty(end, dtype=torch.uint8).share_memory_()
            self.pieces[self.turn] = mark, memory
        for place, tensor in zip(places, tensors, strict=True):
            place.of(memory).copy_(tensor)
        known = int(self.arrived[worker.id, self.turn]) == mark
        return Parcel(worker.id, self.turn, mark, _replaced(batch, iter(places)), None if known else memory)


class Receiver:
    """Takes batches out of the memory of the workers, who then use it again.

    Args:
        arrived: of the `Sender`.
        pinned: copy them into page-locked memory.
    """

    def __init__(self, arrived: Tensor, pinned: bool):
        self.arrived, self.pinned = arrived, pinned
        self.pieces: dict[tuple[int, int], tuple[int, Tensor]] = {}

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches as they were before they were sent, each taken before the next one is asked for."""
        for batch in batches:
            yield self.taken(batch) if isinstance(batch, Parcel) else batch

    def taken(self, parcel: Parcel) -> Any:
        """The batch in memory of its own."""
        key = parcel.sender, parcel.piece
        if parcel.memory is not None:
            self.pieces[key] = parcel.mark, parcel.memory
            self.arrived[key] = parcel.mark
        mark, memory = self.pieces[key]
        if mark != parcel.mark:
            raise RuntimeError(f"a batch of worker {parcel.sender} lies in memory that has not arrived")
        views = (place.of(memory) for place in _leaves(parcel.content, Place))
        return _replaced(parcel.content, (view.pin_memory() if self.pinned else view.clone() for view in views))


def _plain(tensor: Tensor) -> bool:
    """Whether a tensor is one piece of ordinary memory, in any order of its dimensions, as all pictures are."""
    dense = tensor.numel() > 0 and torch.ops.aten.is_non_overlapping_and_dense(tensor)
    return dense and tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.requires_grad


def _leaves(batch: Any, kind: type) -> Iterator[Any]:
    """All of a kind that a batch holds, in their order."""
    if isinstance(batch, kind):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _leaves(value, kind)
    elif isinstance(batch, tuple | list):
        for value in batch:
            yield from _leaves(value, kind)


def _replaced(batch: Any, others: Iterator[Any]) -> Any:
    """The batch with its tensors, or places, replaced in their order."""
    if isinstance(batch, Tensor | Place):
        return next(others)
    if isinstance(batch, dict):
        return {key: _replaced(value, others) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)([_replaced(value, others) for value in batch])
    return batch
