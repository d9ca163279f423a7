"""Images of two domains for unpaired translation."""

from typing import Any

import torch

from datamodules.base import DataModule
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.domains import DOMAINS, Domains, Subset
from datamodules.pixel_values import DEFAULT, Reading
from datamodules.summary import Found, joined
from datamodules.two_domains import TwoDomains


class UnpairedDataModule(TwoDomains):
    """Two domains from any data modules: two folders, two files, or two groups of one data set's classes.

    ``a`` and ``b`` are data modules of one image shape, of which only the three splits are used, not their loaders:
    batch_size, num_workers, flip and seed are given here. For example, horses and deer:

    ```yaml
    a: {class_path: CIFAR10DataModule}
    classes_a: [7]
    classes_b: [4]
    ```

    Args:
        a: images of one domain.
        b: images of the other domain; None takes those of a, divided by their classes.
        classes_a: labels of the images to take from a; None for all.
        classes_b: labels of the images to take from b; None for all.
        paired: whether a and b have counterparts at the same places in the splits val and test.
        **kwargs: load_size, predict_domain, predict_folder and predict_crop of `TwoDomains`; batch_size, num_workers,
            flip and seed of `DataModule`.

    Raises:
        ValueError: shapes that differ, or one data module without two groups of classes.
    """

    def __init__(
        self,
        a: DataModule,
        b: DataModule | None = None,
        classes_a: list[int] | None = None,
        classes_b: list[int] | None = None,
        paired: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if b is None and (classes_a is None or classes_b is None):
            raise ValueError(f"b=None, classes_a={classes_a}, classes_b={classes_b}: give b, or classes of a for both")
        if b is None and set(classes_a or ()) & set(classes_b or ()):
            raise ValueError(f"classes_a={classes_a}, classes_b={classes_b}: the same images would be in both domains")
        self.a, self.b = a, a if b is None else b
        self.classes = {"a": classes_a, "b": classes_b}
        self.paired = paired
        self.name = "2".join(self._part_name(domain) for domain in DOMAINS)
        if self.a.image_shape != self.b.image_shape:
            raise ValueError(
                f"a.image_shape={self.a.image_shape}, b.image_shape={self.b.image_shape}: both domains must have one "
                "shape"
            )
        self.keep_parts(a=a, b=b)

    def _part_name(self, domain: str) -> str:
        module, classes = getattr(self, domain), self.classes[domain]
        return module.name.removesuffix(".zip") + ("" if classes is None else "_" + "_".join(map(str, classes)))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of both domains."""
        return self.a.image_shape

    @property
    def _predict_reading(self) -> Reading:
        """That of the domain's training images."""
        return getattr(getattr(self, self.predict_domain), "reading", DEFAULT)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the domain that has more."""
        return max(self.a.class_names, self.b.class_names, key=len)

    @property
    def num_classes(self) -> int:
        """Number of classes of the domain that has more; labels stay those of the data modules."""
        return max(self.a.num_classes, self.b.num_classes)

    def found(self, look: int | None) -> Found:
        """What the data modules find; of each alone where both are one."""
        modules = {"a": self.a} if self.b is self.a else {"a": self.a, "b": self.b}
        return joined({domain: module.found(look) for domain, module in modules.items()})

    def prepare_data(self) -> None:
        """Downloads what the data modules download."""
        self.a.prepare_data()
        self.b.prepare_data()

    def read_domains(self) -> dict[Split, Domains]:
        """Takes each domain's classes from its data module.

        Raises:
            ValueError: classes asked of data without labels.
        """
        return {split: Domains(self._part("a", split), self._part("b", split)) for split in SPLITS}

    def _part(self, domain: str, split: Split) -> BatchDataset:
        dataset: Any = getattr(self, domain).dataset(split)
        classes = self.classes[domain]
        if classes is None:
            return dataset
        if len(dataset) == 0:
            return dataset
        indices = torch.isin(dataset.labels, torch.tensor(classes)).nonzero().flatten()
        if split == "train" and len(indices) == 0:
            raise ValueError(f"classes_{domain}={classes}: {self._part_name(domain)} has no such training images")
        return Subset(dataset, indices)
