"""A folder of ``lit-gen encode``: what it says, its arrays and its pictures. Imports no Lightning."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import SPLITS, BatchDataset, InMemoryDataset, Split, to_float
from datamodules.formats.containers import DAMAGE
from datamodules.mapped import MappedDataset
from lit_gen.encoded import CODEC, DESCRIPTION, FORMAT, IMAGES, LABELS, Encoded
from lit_gen.files import read_json


class LatentsFolder:
    """What is written in ``root/latents.json``, compared with the codec in ``root/codec``.

    Args:
        root: the folder.

    Attributes:
        encoded: codec, shapes and scale.
        name: of the data whose images are encoded.
        flipped: whether the mirror images of the training split are there too.
        class_names: of the labels; empty without any.

    Raises:
        FileNotFoundError: there is no such folder, or no codec in it.
        ValueError: a folder of another format, or whose codec has changed since.
    """

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        where = self.root / DESCRIPTION
        if not where.is_file():
            raise FileNotFoundError(f"root={str(root)!r}: no {DESCRIPTION}; a folder of lit-gen encode is accepted")
        described = read_json(where)
        if described.get("format") != FORMAT:
            raise ValueError(f"{where}: format={described.get('format')!r}; this version reads format={FORMAT}")
        self.encoded = Encoded.of(described, str(where), (self.root / CODEC).absolute())
        self.encoded.check_codec()
        try:
            self.name, self.flipped = str(described["name"]), bool(described["flipped"])
            self.class_names = tuple(map(str, described["class_names"]))
            self._counts = {split: int(described["counts"].get(split, 0)) for split in SPLITS}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{where}: not the description of latents or codes ({error!r})") from None

    def dataset(self, split: Split, name: str, prepare: Callable[[Tensor], Tensor] | None = None) -> BatchDataset:
        """The rows of a split's array; none where the images had no such split, or the array isn't there.

        Raises:
            ValueError: an array that is damaged or of another length or shape.
        """
        count, path = self._counts[split], self.root / split / name
        shape = self.encoded.image_shape if name == IMAGES else self.encoded.shape
        if count == 0 or (name == IMAGES and not path.exists()):
            return InMemoryDataset(torch.zeros(0, *shape))
        self._check(path, (count, *shape))
        labels = torch.zeros(count, dtype=torch.int64)
        if self.class_names:
            self._check(self.root / split / LABELS, (count,))
            labels = torch.from_numpy(np.load(self.root / split / LABELS, allow_pickle=False))
        return MappedDataset(path, labels, prepare)

    @staticmethod
    def _check(path: Path, shape: tuple[int, ...]) -> None:
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except FileNotFoundError:
            raise ValueError(f"{path}: missing; the folder isn't whole, encode again") from None
        except DAMAGE as error:
            raise ValueError(f"{path}: truncated or damaged ({error})") from None
        if found != shape:
            raise ValueError(f"{path}: an array of shape {found}, where {DESCRIPTION} says {shape}")


class Pictures:
    """The pictures of the held-out splits of such a folder, with the face of a data module.

    Args:
        folder: which keeps them.
    """

    def __init__(self, folder: LatentsFolder):
        self._folder = folder
        self.name, self.image_shape = folder.name, folder.encoded.image_shape
        self.class_names, self.num_classes = folder.class_names, len(folder.class_names)
        self._datasets: dict[Split, BatchDataset] = {}

    def dataset(self, split: Split) -> BatchDataset:
        """The uint8 pictures (N, C, H, W) of a held-out split with their labels; empty where there is none.

        Raises:
            ValueError: for the training split, whose pictures aren't kept.
        """
        if split == "train":
            raise ValueError(
                f"split='train': {self._folder.root} keeps the pictures of the held-out splits alone, and latents are "
                "none; compare with those (reference='held_out')"
            )
        if split not in self._datasets:
            self._datasets[split] = self._folder.dataset(split, IMAGES)
        return self._datasets[split]

    @staticmethod
    def to_float(images: Tensor) -> Tensor:
        """uint8 0..255 as float32 in [-1, 1]."""
        return to_float(images)
