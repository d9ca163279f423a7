"""Any data module's images as shards of the WebDataset format."""

import io
import tarfile
from pathlib import Path

import numpy as np
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS
from datamodules.decoding import image_of
from datamodules.shard_index import INDEX, ShardIndex
from lit_gen.files import whole_folder


def write_shards(data: DataModule, folder: str | Path, images_per_shard: int = 1000) -> None:
    """Write the three splits and their index; the folder appears whole or not at all.

    Pictures of 1 or 3 channels become PNG, which loses nothing, all else ``.npy``. Images of a split keep their order.
    ``lit-gen convert`` does so for pictures in files without encoding them again, and can be interrupted.

    Args:
        data: the images.
        folder: a new folder.
        images_per_shard: how many a tar file holds.

    Raises:
        ValueError: the folder exists, or a shard would be empty.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"folder={folder}: exists already")
    if images_per_shard < 1:
        raise ValueError(f"images_per_shard={images_per_shard}: must be at least 1")
    with whole_folder(folder) as unfinished:
        for split in SPLITS:
            dataset = data.dataset(split)
            for number, start in enumerate(range(0, len(dataset), images_per_shard)):
                indices = list(range(start, min(start + images_per_shard, len(dataset))))
                with tarfile.open(unfinished / f"{split}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                    for i, image, label in zip(indices, *dataset.__getitems__(indices), strict=True):
                        for suffix, content in encoded(image).items():
                            add_member(tar, f"{i:09d}.{suffix}", content)
                        if data.num_classes:
                            add_member(tar, f"{i:09d}.cls", str(int(label)).encode())
        write_index(unfinished, data.class_names)


def write_index(folder: Path, class_names: tuple[str, ...]) -> None:
    """Write where the images of a folder's shards begin, and what their classes are called."""
    ShardIndex.of(folder).named(class_names).with_checksums(folder).write(folder / INDEX)


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar, without a time or an owner, so that the same images make the same bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def encoded(image: Tensor) -> dict[str, bytes]:
    """A picture (C, H, W) as PNG, other arrays as they are, by suffix."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        return {"npy": npy(image.numpy())}
    buffer = io.BytesIO()
    image_of(image.numpy()).save(buffer, "PNG")
    return {"png": buffer.getvalue()}


def npy(array: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
