"""Decoded images in memory or on disk, shared by processes and filled as the images are first asked for."""

import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.image_files import EncodedImages, ImageFiles
from datamodules.listing import Archive
from datamodules.pixel_values import DEFAULT, Reading

VERSION = 2  # of the layout and of what `decode` does to an image
SHARED_MEMORY = "/dev/shm"  # where Linux keeps what processes share; containers often give it 64 MiB
CHECK = 4  # bytes of a checksum


class PixelCache:
    """uint8 images (N, C, H, W) in bytes that processes share, each written by the process that decodes it first.

    Beside every image is its CRC-32, 0 for none, written after it and compared at every access. An image that is half
    written, was lost with the machine's power or cut off with the file's end is one that is missing, and two processes
    that decode the same image at once do no harm.

    Args:
        memory: N checksums of 4 bytes, then N images; all 0 when new.
        count: N.
        image_shape: (C, H, W).
        path: the file that `memory` maps; workers that don't inherit the mapping open it again.
    """

    def __init__(self, memory: Tensor, count: int, image_shape: tuple[int, int, int], path: str | None = None):
        self.memory = memory
        self.path = path
        data = memory.numpy()
        self.checksums = data[: CHECK * count].view(np.uint32)
        self.pixels = data[CHECK * count :].reshape(count, *image_shape)

    def __reduce__(self) -> tuple[Callable[..., "PixelCache"], tuple[Any, ...]]:
        count, *shape = self.pixels.shape
        if self.path is not None:
            return map_file, (self.path, count, tuple(shape))
        return PixelCache, (self.memory, count, tuple(shape))  # the loader's pickler passes on the shared memory

    def take(self, slots: np.ndarray, missing: Callable[[int], np.ndarray]) -> np.ndarray:
        """Copies of the images (n, C, H, W) at `slots`, after putting in those that are not there.

        Args:
            slots: numbers of the images (n,).
            missing: decodes the image at this position of `slots`.
        """
        images: np.ndarray = self.pixels[slots]
        for position, slot in enumerate(slots):
            if self.checksums[slot] != _checksum(images[position]):
                images[position] = missing(position)
                self.pixels[slot] = images[position]
                self.checksums[slot] = _checksum(images[position])
        return images


class Cached(EncodedImages):
    """Pictures that are decoded when they are first asked for, and then come from a `PixelCache`."""

    cache: PixelCache
    slots: np.ndarray  # number of each picture in the cache (N,)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images = self.cache.take(self.slots[indices], lambda i: self.decoded(indices[i]))
        return torch.from_numpy(images), self.labels[torch.tensor(indices)]


class CachedImageFiles(Cached, ImageFiles):
    """Image files that are decoded when they are first asked for, and then come from a `PixelCache`.

    Args:
        paths: the files.
        labels: class of each file (N,).
        cache: holds these files, and perhaps others.
        slots: number of each file in the cache (N,).
        reading: as in `ImageFiles`.
        archive: as in `ImageFiles`.
        pages: as in `ImageFiles`.
    """

    def __init__(
        self,
        paths: Iterable[str],
        labels: Tensor,
        cache: PixelCache,
        slots: np.ndarray,
        reading: Reading = DEFAULT,
        archive: Archive | None = None,
        pages: np.ndarray | None = None,
    ):
        channels, height, width = cache.pixels.shape[1:]
        super().__init__(paths, labels, (channels, height, width), reading, archive, pages)
        self.cache = cache
        self.slots = slots


def check_cache(cache: str, folder: str | None) -> None:
    """Raises ValueError unless `cache` is none, ram or disk, and only disk has a folder."""
    if cache not in ("none", "ram", "disk"):
        raise ValueError(f"cache={cache!r}: must be 'none', 'ram' or 'disk'")
    if folder is not None and cache != "disk":
        raise ValueError(f"cache_folder={folder!r}: only cache='disk' has one, not cache={cache!r}")


def in_memory(count: int, image_shape: tuple[int, int, int]) -> PixelCache:
    """An empty cache in shared memory, all of it reserved now.

    Raises:
        ValueError: it doesn't fit.
    """
    size = needed_bytes(count, image_shape)
    free = available_memory()
    if free is not None and size > free:
        raise _too_small("cache='ram'", count, image_shape, f"of shared memory, {free:,} are available")
    try:
        memory = torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))
    except RuntimeError as error:
        raise _too_small("cache='ram'", count, image_shape, f"of shared memory: {error}") from error
    return PixelCache(memory, count, image_shape)


def on_disk(
    stamps: Sequence[str], image_shape: tuple[int, int, int], root: str, folder: Path, reading: Reading = DEFAULT
) -> PixelCache:
    """The cache of some images in `folder`: the one that an earlier or another process began, or a new one.

    Its name is a hash of everything that the pixels depend on. One of the same root whose files were others, by name,
    size or time, is deleted; processes that read it go on.

    Args:
        stamps: what tells each image from others (N,): name, size, time.
        image_shape: (C, H, W).
        root: where the images come from.
        folder: where the cache is kept.
        reading: what the files' values mean.

    Raises:
        ValueError: the folder can't be written, or has too little space.
    """
    place = _digest([str(VERSION), PIL.__version__, str(image_shape), os.path.realpath(root), str(reading)])
    path, count = folder / f"{place}-{_digest(stamps)}.pixels", len(stamps)
    size, argument = needed_bytes(count, image_shape), "cache='disk'"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"{place}-*.pixels"):
            if stale != path:
                rank_zero_info(f"{stale}: the files below {root} have changed; they are decoded anew")
                stale.unlink(missing_ok=True)
        held = path.stat().st_blocks * 512 if path.exists() else 0
        free = shutil.disk_usage(folder).free
        if size - held > free:
            raise _too_small(argument, count, image_shape, f"in {folder}, {free:,} are available")
        return map_file(str(path), count, image_shape)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _too_small(argument, count, image_shape, f"in {folder}: {error}") from error
        raise ValueError(f"cache_folder={str(folder)!r}: can't be used: {error}") from error


def map_file(path: str, count: int, image_shape: tuple[int, int, int]) -> PixelCache:
    """The cache in a file, which is made, or filled up to its length, where it lacks.

    Any number of processes may do so at once: nothing that is there changes.
    """
    size = needed_bytes(count, image_shape)
    with open(path, "ab") as file:
        if file.tell() < size:
            if hasattr(os, "posix_fallocate"):  # a full disk is found out now: later it would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    return PixelCache(torch.from_numpy(np.memmap(path, np.uint8, "r+", shape=(size,))), count, image_shape, path)


def needed_bytes(count: int, image_shape: tuple[int, int, int]) -> int:
    """Bytes of a cache of `count` images."""
    channels, height, width = image_shape
    return count * (CHECK + channels * height * width)


def available_memory() -> int | None:
    """Bytes that can be shared without swapping; None where the system doesn't say."""
    free = []
    if os.path.isdir(SHARED_MEMORY):
        free.append(shutil.disk_usage(SHARED_MEMORY).free)
    if os.path.exists("/proc/meminfo"):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        free += [1024 * int(words[1]) for words in lines if words[0] == "MemAvailable:"]
    return min(free, default=None)


def _checksum(image: np.ndarray) -> int:
    return zlib.crc32(image.data) or 1  # 0 is for none


def _digest(words: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(os.fsencode(word) + b"\0\0")
    return digest.hexdigest()[:24]


def _too_small(argument: str, count: int, image_shape: tuple[int, int, int], where: str) -> ValueError:
    size = needed_bytes(count, image_shape)
    shape = " x ".join(map(str, image_shape))
    return ValueError(f"{argument}: {count:,} images of {shape} need {size:,} bytes {where}")
