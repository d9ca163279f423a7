"""The data sets that torchvision reads, by their names."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, InMemoryDataset, Split
from datamodules.decoding import picture_shape
from datamodules.formats.attributes import Attributes
from datamodules.formats.vision_pictures import VisionPictures
from datamodules.formats.vision_table import SETS, vision_set
from datamodules.pixel_values import DEFAULT
from datamodules.summary import Found, look_at_files
from datamodules.vision import open_files

MOST = 5000  # images that are kept for validation by default, at most a tenth
OWN_NAMES = {"FashionMNIST": "fashion_mnist"}  # as that data module's


class TorchvisionDataModule(DataModule):
    """A data set of torchvision by its name: SVHN, EMNIST, KMNIST, CIFAR100, STL10, CelebA, Flowers102, Food101, ...

    Images of one size are kept in memory as uint8: MNIST and its relatives (1, 28, 28), USPS and SEMEION (1, 16, 16),
    SVHN, CIFAR10 and CIFAR100 (3, 32, 32), STL10 (3, 96, 96). Pictures of any sizes are decoded when a batch needs
    them, scaled and cropped as by `ImageFolderDataModule`; `num_workers` above 0 is advisable. EMNIST's images, which
    torchvision hands out lying on their side, are turned upright.

    The official splits are kept; ImageNet's and Imagenette's val is the test split, as it is in publications. Where
    there is none for validation, or for the test, images for it are taken from training: the last ones, as
    `MNISTDataModule` does, or a fixed random draw where they lie in the order of their classes.

    Args:
        name: of torchvision's class, in whatever case.
        root: folder that holds torchvision's files, or receives them.
        download: fetch files that are missing.
        val_size: number of training images kept for validation, and as many for the test where it has no official
            split; None for a tenth, at most 5,000; 0 for none.
        variant: of EMNIST ``balanced``, ``byclass``, ``bymerge``, ``letters``, ``digits``, ``mnist``; of QMNIST the
            test images, ``test``, ``test10k``, ``test50k``; of SVHN the training images, ``train``, ``extra``; of STL10
            ``train``, ``unlabeled``, ``train+unlabeled``, the latter two without labels; of FGVCAircraft the classes,
            ``variant``, ``family``, ``manufacturer``. None takes the first.
        image_size: side of pictures of any sizes, or (height, width); None for 64.
        channels: 3 for RGB, 1 for grey, of pictures of any sizes; None for 3.
        attributes: names of CelebA's attributes that make the classes; None for no labels.
        **kwargs: batch_size, num_workers, flip, seed and the loader's options of `DataModule`.
    """

    def __init__(
        self,
        name: str,
        root: str = "data",
        download: bool = True,
        val_size: int | None = None,
        variant: str | None = None,
        image_size: int | tuple[int, int] | None = None,
        channels: Literal[1, 3] | None = None,
        attributes: list[str] | str | None = None,
        **kwargs: Any,
    ):
        root = os.fspath(root)
        super().__init__(**kwargs)
        self.torchvision_class = vision_set(name)
        self.set = SETS[self.torchvision_class]
        if val_size is not None and val_size < 0:
            raise ValueError(f"val_size={val_size}: must be at least 0")
        if variant is not None and variant not in self.set.variants:
            accepted = ", ".join(filter(None, self.set.variants)) or "none"
            raise ValueError(f"variant={variant!r}: {self.torchvision_class} has {accepted}")
        self.variant = next(iter(self.set.variants)) if variant is None else variant
        self.splits = self.set.variants[self.variant]
        if val_size and {"val", "test"} <= set(self.splits):
            raise ValueError(f"val_size={val_size}: {self.torchvision_class} has official images for validation")
        self.attributes = Attributes.of(attributes)
        if self.attributes.chosen and self.set.labels != "attr":
            raise ValueError(f"{self.attributes}: CelebA has attributes, {self.torchvision_class} has none")
        own = OWN_NAMES.get(self.torchvision_class, self.torchvision_class.lower())
        self.name = own if variant is None else f"{own}_{variant}"
        self.root, self.download, self.val_size = root, download, val_size
        self._shape = self.set.shape or picture_shape(
            64 if image_size is None else image_size, 3 if channels is None else channels
        )
        if self.set.shape and (image_size, channels) != (None, None):
            told = f"image_size={image_size}, channels={channels}"
            raise ValueError(
                f"{told}: the images of {self.torchvision_class} are all {' x '.join(map(str, self._shape))}"
            )
        if self.set.shape is None:
            self.reading = DEFAULT
        self._names: tuple[str, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W): of the set, or from the arguments."""
        return self._shape

    @property
    def num_classes(self) -> int:
        """Number of classes, known without the files; 0 without labels."""
        if self.attributes.chosen:
            return len(self.attributes.class_names)
        return self._classes if isinstance(self._classes, int) else len(self._classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; those that the files alone say are read from them."""
        if self.attributes.chosen or not isinstance(self._classes, int):
            return self.attributes.class_names or tuple(self._classes)  # type: ignore[arg-type]
        if self._names is None and self._classes:
            self._opened("train")
        names = self._names or ()
        return names if len(names) == self._classes else tuple(map(str, range(self._classes)))

    @property
    def command_word(self) -> str:
        """What commands call these data; empty for other variants than the default, which they can't say."""
        return self.torchvision_class if self.variant == next(iter(self.set.variants)) else ""

    @property
    def _classes(self) -> int | tuple[str, ...]:
        classes = self.set.classes
        return classes[self.variant] if isinstance(classes, Mapping) else classes

    def prepare_data(self) -> None:
        """Downloads the files that are missing, in one process of each machine."""
        if self.download:
            self.dataset("train")

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the images, or the list of them, and cuts off the splits that are not official.

        Raises:
            FileNotFoundError: the files are missing and download is False, or can't be fetched by torchvision.
            ConnectionError: the download failed.
            ValueError: val_size leaves nothing for training; attributes that there are not.
        """
        parts = {split: self._part(split) for split in self.splits}
        train = parts["train"]
        size = min(MOST, len(train) // 10) if self.val_size is None else self.val_size
        missing = [split for split in SPLITS if split not in parts]
        count = len(train) - size * len(missing)
        if count < 1:
            raise ValueError(f"val_size={size}: must be less than the {len(train)} training images of {self.name}")
        order = np.random.default_rng(0).permutation(len(train)) if self.set.by_class else np.arange(len(train))
        rows = np.split(order, [count + size * i for i in range(len(missing))])
        cut = [train.subset(torch.from_numpy(np.sort(some))) for some in rows]
        return {**parts, "train": cut[0], **dict(zip(missing, cut[1:], strict=True))}

    def found(self, look: int | None) -> Found:
        """Values of some images, of pictures also their sizes."""
        if self.set.shape:
            return super().found(look)
        datasets: list[Any] = [self.dataset(split) for split in SPLITS]
        return look_at_files(datasets, {}, (), look)

    def _part(self, split: Split) -> InMemoryDataset | VisionPictures:
        files = self._opened(split)
        labels = self._labels(files)
        if self.set.shape is None:
            labels = torch.zeros(len(files), dtype=torch.int64) if labels is None else labels
            return VisionPictures(files, labels, self._shape, f"{self.root}: {self.torchvision_class}, {split} image")
        images = torch.as_tensor(files.data)
        images = images[:, None] if images.ndim == 3 else images
        if images.shape[1] != self._shape[0]:
            images = images.permute(0, 3, 1, 2)
        return InMemoryDataset((images.mT if self.set.turned else images).contiguous(), labels)

    def _opened(self, split: Split) -> Any:
        download = None if self.set.alone else self.download
        files = open_files(self.torchvision_class, self.root, download, **self.splits[split])
        if split == "train":
            names: Any = getattr(files, "classes", None) or getattr(files, "categories", ())
            self._names = tuple(name if isinstance(name, str) else ", ".join(name) for name in names)
        return files

    def _labels(self, files: Any) -> Tensor | None:
        stored = getattr(files, self.set.labels)
        if self.attributes.chosen:
            names = [name for name in files.attr_names if name]
            what = f"{self.root}: {self.torchvision_class}"
            return torch.from_numpy(self.attributes.numbers(np.asarray(stored), names, what))
        if self.num_classes == 0:
            return None
        pairs = len(stored) > 0 and isinstance(stored[0], tuple)
        labels = torch.as_tensor([label for _, label in stored] if pairs else stored, dtype=torch.int64)
        labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST's other columns say who wrote the digit
        labels = labels - (self.set.first or {}).get(self.variant, 0)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            told = f"{int(labels.min())} to {int(labels.max())}"
            raise ValueError(f"{self.root}: {self.torchvision_class}: labels {told} of {self.num_classes} classes")
        return labels
