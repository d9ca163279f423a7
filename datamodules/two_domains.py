"""Images of two domains, side by side: what unpaired and paired data share."""

import inspect
from abc import abstractmethod
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zipfile import is_zipfile

import torch
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.domains import DOMAINS, Augmented, Domains, OneDomain, UnpairedSampler, random_crops
from datamodules.image_files import ImageFiles, WholeImageFiles
from datamodules.image_tree import ImageTree
from datamodules.loader import Loader, ResumableLoader, ShuffledSampler
from datamodules.pixel_values import DEFAULT, Reading
from datamodules.summary import LOOKED, Found, Summary, look_in_memory

KEPT = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")  # suffixes of formats that predictions are written in


class TwoDomains(DataModule):
    """Images of two domains, of one shape. A batch is ``{"a": (images, labels), "b": (images, labels)}``.

    An epoch of training shows the longer domain once, each image in random company, or in that of its counterpart: the
    shorter one is reshuffled and shown again whenever it is used up. The order is a function of (seed, epoch) only, and
    continues in the middle of an epoch. Validation and test go through both domains in order, each image once over all
    processes; where one domain is shorter the last batches hold fewer or none of its images.

    Prediction is of one domain: its test split, or all images below a folder at their own sizes. The predictions keep
    their names, and JPEG files stay JPEG files.

    A concrete module says `name`, `image_shape` and `num_classes`, and implements `read_domains`.

    Attributes:
        paired: whether image i of domain a and image i of domain b are counterparts in the splits val and test, so
            that a translation's error can be measured.
        pairs: whether they are so in training too, where counterparts then come together, cropped and mirrored alike.

    Args:
        load_size: side, or (height, width), to which training images are enlarged before a random crop of their own
            size is taken (bicubic, on the device; 286 for 256 in CycleGAN); None for neither.
        predict_domain: the domain of the images that are to be translated by predict.
        predict_folder: folder or .zip whose images predict translates, at any depth; None for the domain's test split.
        predict_crop: scale and crop the folder's images to the training images' shape, as those were, in place of
            translating them at their own sizes.
        **kwargs: batch_size, num_workers, flip and seed of `DataModule`. batch_size counts the images of one domain.
    """

    paired: bool = False
    pairs: bool = False

    def __init__(
        self,
        load_size: int | tuple[int, int] | None = None,
        predict_domain: Literal["a", "b"] = "a",
        predict_folder: str | None = None,
        predict_crop: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if predict_domain not in DOMAINS:
            raise ValueError(f"predict_domain={predict_domain!r}: must be 'a' or 'b'")
        if predict_folder is not None and not Path(predict_folder).is_dir() and not is_zipfile(predict_folder):
            raise FileNotFoundError(f"predict_folder={predict_folder!r}: there is no such folder or .zip")
        self.load_size = (load_size, load_size) if isinstance(load_size, int) else load_size
        self.predict_domain: str = predict_domain
        self.predict_folder, self.predict_crop = predict_folder, predict_crop

    def keep_parts(self, **modules: DataModule | None) -> None:
        """Keep what builds the data modules that this one is made of, for checkpoints, as the command line does."""
        if "_class_path" not in self.hparams:  # built in Python
            parts = {name: _describe(module) for name, module in modules.items() if module is not None}
            instantiator = "lightning.pytorch.cli.instantiate_module"
            self.save_hyperparameters({**parts, "_class_path": _path(self), "_instantiator": instantiator})

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(C, H, W) of domain b: that of a, but for its channels where the domains are paired."""
        return self.image_shape

    @abstractmethod
    def read_domains(self) -> dict[Split, Domains]:
        """Reads both domains of each split; called once."""

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the splits.

        Raises:
            ValueError: a domain without training images, or counterparts that differ in number.
        """
        splits: dict[Split, Any] = dict(self.read_domains())
        for domain in DOMAINS:
            if len(getattr(splits["train"], domain)) == 0:
                raise ValueError(f"{self.name}: domain {domain} has no training images")
        paired: dict[Split, bool] = {"train": self.pairs, "val": self.paired, "test": self.paired}
        for split in (split for split in SPLITS if paired[split]):
            a, b = len(splits[split].a), len(splits[split].b)
            if a != b:
                raise ValueError(f"paired=True: {self.name} has {a} and {b} images in the split {split}")
        return splits

    def summary(self, look: int | None = LOOKED) -> Summary:
        """What was found in each domain, as ``train a``, ``train b`` and so on."""
        sizes = {f"{split} {domain}": len(part) for split in SPLITS for domain, part in self._parts(split).items()}
        return Summary(self.name, sizes, tuple(self.image_shape), {}, self.found(look))

    def found(self, look: int | None) -> Found:
        """The values of some images of both domains."""
        return look_in_memory([part for split in SPLITS for part in self._parts(split).values()], look)

    def _parts(self, split: Split) -> dict[str, BatchDataset]:
        return {domain: getattr(self.dataset(split), domain) for domain in DOMAINS}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turns both domains' images into float32, and crops and mirrors those of training, on the device."""
        return self.in_precision({domain: self._prepared(*part) for domain, part in batch.items()})

    def _prepared(self, images: torch.Tensor, labels: torch.Tensor, chances: Any = None) -> Any:
        images = self.to_float(images)
        if chances is not None and (self.load_size is not None or self.flip):
            images = random_crops(images, chances, self.load_size, self.flip)
        return images, labels

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches of both domains, ``batch_size / number of processes`` images of each.

        Raises:
            ValueError: batch_size doesn't suit the processes or the longer domain, or points should be cropped or
                flip.
        """
        shape, size = self.image_shape, self.load_size
        if size is not None and (len(shape) != 3 or size[0] < shape[1] or size[1] < shape[2]):
            raise ValueError(f"load_size={size}: images of {self.name} are {shape}; they can be enlarged, not reduced")
        return super().train_dataloader()

    def order(self, dataset: Any, rank: int, world_size: int, seed: int) -> ShuffledSampler:
        """Both domains' own permutations, or one of pairs."""
        if self.pairs:
            return super().order(dataset, rank, world_size, seed)
        return UnpairedSampler(dataset, self.batch_size, rank, world_size, seed)

    def augmented(self, dataset: Any, seed: int) -> Any:
        """The random numbers of crops and flips beside the images; the device uses them."""
        return Augmented(dataset, seed, self.pairs)

    def predict_dataloader(self) -> Loader | list[Loader]:
        """The images to translate, in order, as ``{domain: (images, labels)}``."""
        images = self._prediction_images()
        single = 1 if isinstance(images, WholeImageFiles) else None  # no two need have one shape
        return self._in_order(OneDomain(images, self.predict_domain), single)

    def _prediction_images(self) -> BatchDataset:
        if self.predict_folder is None:
            return getattr(self.dataset("test"), self.predict_domain)
        if len(self.image_shape) != 3 or self.image_shape[0] not in (1, 3):
            raise ValueError(f"predict_folder: files are read as images of 1 or 3 channels, not {self.image_shape}")
        channels, height, width = self.image_shape
        tree = self._predict_tree
        if tree.left_out:
            told = ", ".join(f"{count} {what}" for what, count in tree.left_out.items())
            rank_zero_warn(f"predict_folder={self.predict_folder!r}: left out {told}")
        files = [tree.path("train", name) for name in tree.listing.images]
        none = torch.zeros(len(files), dtype=torch.int64)
        kind = ImageFiles if self.predict_crop else WholeImageFiles
        return kind(files, none, (channels, height, width), self._predict_reading, tree.archive)

    @cached_property
    def _predict_tree(self) -> ImageTree:
        assert self.predict_folder is not None
        return ImageTree(self.predict_folder, splits="none", labels="none")

    @property
    def _predict_reading(self) -> Reading:
        return DEFAULT

    @property
    def prediction_names(self) -> list[str] | None:
        """The file of each prediction: JPEG files keep their name, others become ``.png``; None for the test split.

        Where two would be one file, ``a/b.bmp`` beside ``a/b.png``, the former's suffix stays: ``a/b.bmp.png``.
        """
        if self.predict_folder is None:
            return None
        files = self._predict_tree.listing.images
        names = [file if file.lower().endswith(KEPT) else f"{file.rpartition('.')[0]}.png" for file in files]
        count = Counter(names)
        return [
            name if count[name] == 1 or file == name else f"{file}.png" for name, file in zip(names, files, strict=True)
        ]


def _describe(module: DataModule) -> dict[str, Any]:
    """What builds it again: the saved arguments, but those that its constructor leaves to the base's defaults."""
    taken = inspect.signature(type(module)).parameters
    everything = any(argument.kind is argument.VAR_KEYWORD for argument in taken.values())
    saved = {name: value for name, value in module.hparams.items() if not name.startswith("_")}
    arguments = {name: value for name, value in saved.items() if everything or name in taken}
    return {"class_path": _path(module), "init_args": arguments}


def _path(module: DataModule) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
