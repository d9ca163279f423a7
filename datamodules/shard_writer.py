"""Any data module's images as shards of the WebDataset format."""

import io
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS
from datamodules.shard_index import INDEX, ShardIndex

CHUNK = 1000  # images read at once


def write_shards(data: DataModule, folder: str | Path, images_per_shard: int = 1000) -> None:
    """Write the three splits and their index; the folder appears whole or not at all.

    Pictures of 1 or 3 channels become PNG, which loses nothing, all else ``.npy``. Images of a split keep their order.

    Args:
        data: the images.
        folder: a new folder.
        images_per_shard: how many a tar file holds.

    Raises:
        ValueError: the folder exists, or a shard would be empty.
        ModuleNotFoundError: without the package webdataset.
    """
    try:
        from webdataset import ShardWriter
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "writing shards needs the package webdataset: pip install 'lit-gen[streaming]'"
        ) from None
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"folder={folder}: exists already")
    if images_per_shard < 1:
        raise ValueError(f"images_per_shard={images_per_shard}: must be at least 1")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        for split in SPLITS:
            dataset, pattern = data.dataset(split), f"{unfinished}/{split}-%06d.tar"
            if not len(dataset):
                continue
            with ShardWriter(pattern, maxcount=images_per_shard, maxsize=2**62, verbose=0, mtime=0) as writer:
                for start in range(0, len(dataset), CHUNK):
                    indices = list(range(start, min(start + CHUNK, len(dataset))))
                    for i, image, label in zip(indices, *dataset.__getitems__(indices), strict=True):
                        sample = {"__key__": f"{i:09d}", **encoded(image)}
                        if data.num_classes:
                            sample["cls"] = str(int(label)).encode()
                        writer.write(sample)
        with open(unfinished / INDEX, "wb") as file:
            np.savez_compressed(file, **asdict(ShardIndex.of(unfinished).named(data.class_names)))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def encoded(image: Tensor) -> dict[str, bytes]:
    """A picture (C, H, W) as PNG, other arrays as they are, by suffix."""
    buffer = io.BytesIO()
    if image.ndim == 3 and image.shape[0] in (1, 3):
        pixels = image.permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if image.shape[0] == 1 else pixels).save(buffer, "PNG")
        return {"png": buffer.getvalue()}
    np.save(buffer, image.numpy(), allow_pickle=False)
    return {"npy": buffer.getvalue()}
