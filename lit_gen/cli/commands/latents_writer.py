"""Latents or codes of a data set as a folder, whole by itself: arrays, the codec, and pictures to score against."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_gen.cli.words import Pace
from lit_gen.encoded import CODEC, CODES, DESCRIPTION, FLIPPED, FORMAT, IMAGES, LABELS, LATENTS, Encoded, identity
from lit_gen.files import whole_folder
from lit_gen.models.autoencoding import AutoencodingModel
from lit_gen.pretrained.saving import save_pretrained
from lit_gen.pretrained.stored import CARD, CONFIG, WEIGHTS, locate

BATCH = 500  # images that are read at once
LARGEST = float(torch.finfo(torch.float16).max)

Read = Iterator[tuple[slice, Tensor, Tensor]]


class LatentsWriter:
    """Writes ``latents.json``, the codec, and for each split its arrays; see docs/autoencoders.md.

    Args:
        codec: what encodes.
        source: what it was loaded from.
        data: a data module of images.
        splits: those to write, the training split among them.
        codes: write the numbers of codes, in the place of latents.
        flip: encode the mirror images of the training split too.
        noise: seed of samples of Gaussian latents, in the place of their means; None for the means.

    Raises:
        ValueError: for codes of a codec without any, images of another shape, or no training images.
    """

    def __init__(
        self,
        codec: AutoencodingModel,
        source: str,
        data: Any,
        splits: tuple[Any, ...],
        codes: bool,
        flip: bool,
        noise: int | None = None,
    ) -> None:
        self.noise = noise
        self.generator = None if noise is None else torch.Generator().manual_seed(noise)
        if noise is not None and (codes or codec.bottleneck.noise_shape(*codec.latent_shape[1:]) is None):
            raise ValueError(f"--noise {noise}: {type(codec.bottleneck).__name__} latents take no noise")
        self.codec, self.source, self.data, self.codes, self.flip = codec, source, data, codes, flip
        if codes:
            self.dtype = np.min_scalar_type(codec.quantizer.codes - 1)  # which refuses a bottleneck without codes
        else:
            self.dtype = np.dtype(np.float16)
        self.shape = codec.latent_shape[codes:]
        if tuple(data.image_shape) != codec.image_shape:
            raise ValueError(f"images of shape {tuple(data.image_shape)}: {source} encodes {codec.image_shape}")
        self.datasets = {split: data.dataset(split) for split in splits if len(data.dataset(split))}
        if "train" not in self.datasets:
            raise ValueError("no training images, whose latents give the scale")
        self.moments = ChannelMoments(codec.latent_shape[0])
        self._total = sum(map(len, self.datasets.values())) + flip * len(self.datasets["train"])
        self._done, self._pace = 0, Pace("encoded")
        self._pace(0, self._total)

    def write(self, out: str | Path) -> None:
        """The folder appears whole or not at all.

        Raises:
            ValueError: for latents that are too large for float16, or none.
        """
        with whole_folder(out) as folder:
            self._write_codec(folder / CODEC)
            for split, dataset in self.datasets.items():
                place = folder / split
                place.mkdir()
                for name in (CODES if self.codes else LATENTS, *([FLIPPED] if self.flip and split == "train" else [])):
                    self._write_encodings(place / name, dataset, name == FLIPPED, measured=split == "train")
                self._write_labels(place / LABELS, dataset)
                if split != "train":
                    self._write_pictures(place / IMAGES, dataset)
            (folder / DESCRIPTION).write_text(json.dumps(self._description(folder), indent=2) + "\n")

    def _write_codec(self, folder: Path) -> None:
        """As it was loaded; a checkpoint's averages alone."""
        place = locate(self.source)
        if not place.is_dir():
            save_pretrained(self.codec, folder, name=Path(self.source).stem)
            return
        folder.mkdir()
        for name in (CONFIG, WEIGHTS, CARD):
            if (place / name).is_file():
                shutil.copyfile(place / name, folder / name)

    def _write_encodings(self, path: Path, dataset: Any, mirrored: bool, measured: bool) -> None:
        rows = self._opened(path, self.dtype, (len(dataset), *self.shape))
        for place, images, _ in self._read(dataset):
            signed = self.data.to_float(images)
            encoded = self._encoded(signed.flip(-1) if mirrored else signed)
            rows[place] = encoded
            if measured and not self.codes:
                self.moments.add(encoded)
            self._tell(len(encoded))
        rows.flush()

    def _encoded(self, images: Tensor) -> np.ndarray:
        """Of images in [-1, 1], as they are stored."""
        if self.codes:
            return self.codec.indices(images).cpu().numpy().astype(self.dtype)
        latents = self.codec.encode(images, self.generator).float().cpu()
        largest = float(latents.abs().max())
        if not largest <= LARGEST:  # what is no number included
            raise ValueError(f"latents of size {largest:g}: float16 holds up to {LARGEST:g}, so they can't be stored")
        return latents.half().numpy()

    def _write_labels(self, path: Path, dataset: Any) -> None:
        if self.data.num_classes:
            labels = self._opened(path, np.dtype(np.int64), (len(dataset),))
            for place, _, classes in self._read(dataset):
                labels[place] = classes.numpy()
            labels.flush()

    def _write_pictures(self, path: Path, dataset: Any) -> None:
        pictures = self._opened(path, np.dtype(np.uint8), (len(dataset), *self.codec.image_shape))
        for place, images, _ in self._read(dataset):
            pictures[place] = images.numpy()
        pictures.flush()

    @staticmethod
    def _opened(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
        return np.lib.format.open_memmap(path, "w+", dtype, shape)

    @staticmethod
    def _read(dataset: Any) -> Read:
        for start in range(0, len(dataset), BATCH):
            place = slice(start, min(start + BATCH, len(dataset)))
            yield place, *dataset.__getitems__(list(range(place.start, place.stop)))

    def _tell(self, images: int) -> None:
        """A line now and then."""
        self._done += images
        self._pace(self._done, self._total)

    def _description(self, folder: Path) -> dict[str, Any]:
        described = json.loads((folder / CODEC / CONFIG).read_text())
        encoded = Encoded(
            kind="codes" if self.codes else "latents",
            folder=CODEC,
            source=self.source,
            class_path=described["class_path"],
            sha256=identity(folder / CODEC),
            shape=self.shape,
            image_shape=self.codec.image_shape,
            mean=() if self.codes else tuple(self.moments.mean.tolist()),
            std=() if self.codes else tuple(self.moments.std.tolist()),
            codes=self.codec.quantizer.codes if self.codes else 0,
        )
        return {
            "format": FORMAT,
            **encoded.as_dict(),
            "name": self.data.name,
            "counts": {split: len(dataset) for split, dataset in self.datasets.items()},
            "flipped": self.flip,
            "noise": self.noise,
            "class_names": list(self.data.class_names),
        }


class ChannelMoments:
    """Mean and standard deviation of each channel of all that it has seen, in float64 (Chan et al. 1979).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        self.count, self.mean, self._squares = 0, np.zeros(channels), np.zeros(channels)

    def add(self, latents: np.ndarray) -> None:
        """See more, ``(N, C, h, w)``."""
        values = latents.astype(np.float64).transpose(1, 0, 2, 3).reshape(len(self.mean), -1)
        count, mean = values.shape[1], values.mean(1)
        difference, total = mean - self.mean, self.count + values.shape[1]
        self._squares += np.square(values - mean[:, None]).sum(1) + difference**2 * self.count * count / total
        self.mean, self.count = self.mean + difference * count / total, total

    @property
    def std(self) -> np.ndarray:
        """√ of the mean square deviation; 1 for a channel that is constant, which it leaves so."""
        std = np.sqrt(self._squares / self.count)
        return np.where(std > 0, std, 1.0)
