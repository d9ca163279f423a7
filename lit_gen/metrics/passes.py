"""One pass of an extractor over real images or over a model's samples."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor

from lit_gen.metrics.bank import FeatureBank, Features
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.moments import check_size
from lit_gen.metrics.statistics import (
    Protocol,
    cache_folder,
    cached,
    fingerprint_data,
    fingerprint_extractor,
    write_statistics,
)
from lit_gen.precision import float64_device
from lit_gen.training.randomness import mix
from lit_gen.value_ranges import to_signed

DRAWN = 500  # samples of a model that are drawn together, from noise of their own
WORTH_KEEPING = 5.0  # seconds of a pass over real images from which the user's own cache keeps its features

Read = Callable[[range], tuple[Tensor, Tensor | None]]
InStep = Callable[[Callable[[], None]], None]


def collect(
    read: Read,
    count: int,
    extractor: Extractor,
    *,
    batch_size: int = 500,
    capacity: int = 10_000,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
    known_classes: bool = True,
    advance: Callable[[int], None] = lambda images: None,
    in_step: InStep = lambda work: work(),
) -> FeatureBank:
    """A bank of the images at positions 0 to ``count`` − 1; its ``compute`` joins the processes.

    The positions are cut into shares of 500, or the next multiple of it that holds a batch; process r takes every
    `world_size`-th share, in batches. So a batch holds the same images on any number of processes, and gives the same
    features to the last bit.

    Args:
        read: gives the images ``(N, *image_shape)``, as the extractor takes them, and the labels ``(N,)`` if any, at
            a range of positions.
        count: images over all processes.
        extractor: run once for each image.
        batch_size: images at once.
        capacity: of the bank.
        rank: this process.
        world_size: number of processes.
        device: where the extractor runs.
        known_classes: of the bank.
        advance: told the number of images after each batch.
        in_step: does the work, and fails in all processes where one fails.

    Raises:
        NotFiniteError: features that are NaN or infinite.
        ValueError: more images of more features than memory is spent on.
    """
    check_size(count, extractor.num_features)
    extractor = extractor.to(device)
    bank = FeatureBank(extractor.num_features, extractor.num_classes, capacity, known_classes=known_classes)
    bank = bank.to(float64_device(device))

    def see_all() -> None:
        for positions in _batches(count, batch_size, rank, world_size):
            images, labels = read(positions)
            features, logits = extractor.extract(images.to(device))
            bank.update(features, torch.arange(positions.start, positions.stop), logits, labels)
            advance(len(positions))

    in_step(see_all)
    return bank


def _batches(count: int, batch_size: int, rank: int, world_size: int) -> Iterator[range]:
    """This process's batches of the positions 0 to ``count`` − 1."""
    share = -(-batch_size // DRAWN) * DRAWN
    for first in range(rank * share, count, world_size * share):
        last = min(first + share, count)
        for start in range(first, last, batch_size):
            yield range(start, min(start + batch_size, last))


def as_extractor_takes(images: Tensor, extractor: Extractor, eight_bits: bool = True) -> Tensor:
    """Images in [-1, 1], rounded to 8 bits and brought to the extractor's channels; points as they are."""
    if images.ndim != 4:
        return images
    channels = None if extractor.resizes else extractor.image_shape[0]  # such extractors do that by themselves
    if eight_bits:
        return to_signed(images.float(), "signed", channels)
    return images.expand(-1, 3, -1, -1) if (images.shape[1], channels) == (1, 3) else images


def samples_of(
    model: Any, extractor: Extractor, count: int, seed: int, eight_bits: bool, classes: Sequence[int] | None = None
) -> Read:
    """Reads samples of a model at positions 0 to ``count`` − 1, of a conditional one's classes in turn.

    ``classes`` are those to draw, by default all.

    They are drawn 500 at a time, each part from noise of its own, however many are read at once: sample i is a
    function of (seed, i, count).
    """
    conditional = getattr(model, "conditional", False)
    numbers = torch.tensor(range(model.num_classes) if classes is None else classes) if conditional else None

    @lru_cache(maxsize=1)
    def drawn(part: int) -> tuple[Tensor, Tensor | None]:
        positions = range(part * DRAWN, min((part + 1) * DRAWN, count))
        generator = torch.Generator().manual_seed(mix(seed, "evaluate", part))
        labels = None if numbers is None else numbers[torch.arange(positions.start, positions.stop) % len(numbers)]
        images = model.sample(len(positions), generator=generator, **({} if labels is None else {"labels": labels}))
        return images, labels

    def read(positions: range) -> tuple[Tensor, Tensor | None]:
        parts = [drawn(part) for part in range(positions.start // DRAWN, -(-positions.stop // DRAWN))]
        inside = slice(positions.start % DRAWN, positions.start % DRAWN + len(positions))
        images = torch.cat([images for images, _ in parts])[inside]
        labels = torch.cat([labels for _, labels in parts if labels is not None])[inside] if conditional else None
        return as_extractor_takes(images, extractor, eight_bits), labels

    return read


def images_of(data: Any, split: Any, extractor: Extractor, device: torch.device | str = "cpu") -> Read:
    """Reads the images of a data module's split, in its order, without random flips."""
    dataset = data.dataset(split)

    def read(positions: range) -> tuple[Tensor, Tensor | None]:
        images, labels = dataset.__getitems__(list(positions))
        signed = as_extractor_takes(data.to_float(images.to(device)), extractor)
        return signed, labels if data.num_classes else None

    return read


def real_features(
    data: Any,
    split: Any,
    extractor: Extractor,
    *,
    limit: int | None = None,
    cache: str | None = None,
    keep: str | None = None,
    agree: Callable[[bool], bool] = bool,
    **collecting: Any,
) -> Features:
    """The features of a data module's split, from the disk if they are there, else from one pass.

    Args:
        data: the data module.
        split: its split.
        extractor: the network.
        limit: first images to take; None for all.
        cache: as `cache_folder` takes it; ``auto`` keeps only what took more than five seconds.
        keep: file to write them to in any case.
        agree: whether all processes found the file; they read it together or compute together.
        **collecting: of `collect`.
    """
    dataset, folder, main = data.dataset(split), cache_folder(cache), collecting.get("rank", 0) == 0
    count = min(len(dataset), limit or len(dataset))
    device = collecting.get("device", "cpu")
    class_names = tuple(getattr(data, "class_names", ()))
    protocol = features = None
    if folder is not None or keep is not None:
        protocol = Protocol(
            data=fingerprint_data(dataset),
            split=split,
            count=count,
            extractor=fingerprint_extractor(extractor),
            values=getattr(data, "values", "uint8"),
            resize=getattr(data, "resize", "none"),
            dtype=getattr(extractor, "precision", "float32"),
            capacity=collecting.get("capacity", 10_000),
        )
    if folder is not None and protocol is not None:
        features = cached(folder, protocol, rank_zero_info)
        if features is not None:
            features.class_names = class_names
        features = features.to(float64_device(device)) if agree(features is not None) and features is not None else None
    if features is None:
        begun = time.monotonic()
        read = images_of(data, split, extractor, device)
        features = collect(read, count, extractor, **collecting).compute()
        features.class_names = class_names
        worth = features.moments.has_covariance and (cache != "auto" or time.monotonic() - begun > WORTH_KEEPING)
        if folder is not None and protocol is not None and main and worth:
            write_statistics(folder / f"{protocol.key}.npz", features, protocol)
    if keep is not None and main:
        write_statistics(keep, features, protocol)
    return features
