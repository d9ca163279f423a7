"""What the data sets that torchvision reads have in common."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from datamodules.base import DataModule
from datamodules.datasets import BatchDataset, InMemoryDataset, Split
from datamodules.formats.containers import DAMAGE, one_line


def open_files(name: str, root: str, download: bool | None, **arguments: Any) -> Any:
    """A data set of torchvision.

    Args:
        name: of its class.
        root: folder that holds the files, or receives them.
        download: fetch files that are missing; None where torchvision can't.
        **arguments: others of the class.

    Raises:
        FileNotFoundError: the files are missing or damaged, and are not fetched.
        ConnectionError: they can neither be read nor fetched.
    """
    import torchvision

    fetched = {} if download is None else {"download": download}
    try:
        return getattr(torchvision.datasets, name)(root, **fetched, **arguments)
    except DAMAGE as error:
        if download:
            raise ConnectionError(
                f"root={root!r}: {name} can neither be read nor fetched: {one_line(error)}"
            ) from error
        remedy = (
            f"torchvision can't fetch them: {one_line(error)}" if download is None else "download=True fetches them"
        )
        raise FileNotFoundError(f"root={root!r}: {name}'s files are not there or damaged; {remedy}") from error


class VisionDataModule(DataModule):
    """A data set of torchvision with an official test split; the last training images become the val split.

    A concrete module says `torchvision_class`, `name`, `image_shape` and `num_classes`.

    Args:
        root: folder that holds torchvision's files, or receives them.
        download: fetch files that are missing.
        val_size: number of training images, the last ones, kept for validation; 0 trains on all of them.
        **kwargs: batch_size, num_workers, flip and seed of `DataModule`.
    """

    torchvision_class: str

    def __init__(self, root: str = "data", download: bool = True, val_size: int = 5000, **kwargs: Any):
        root = os.fspath(root)
        super().__init__(**kwargs)
        if val_size < 0:
            raise ValueError(f"val_size={val_size}: must be at least 0")
        self.root = root
        self.download = download
        self.val_size = val_size

    def prepare_data(self) -> None:
        """Downloads the files that are missing, in one process of each machine."""
        if self.download:
            self.dataset("train")

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the images and cuts off the validation split.

        Raises:
            FileNotFoundError: the files are missing and download is False.
            ConnectionError: the download failed.
            ValueError: val_size leaves nothing for training.
        """
        train, test = self._files(train=True), self._files(train=False)
        count = len(train) - self.val_size
        if count < 1:
            raise ValueError(f"val_size={self.val_size}: must be less than the {len(train)} training images")
        return {
            "train": InMemoryDataset(train.images[:count], train.labels[:count]),
            "val": InMemoryDataset(train.images[count:], train.labels[count:]),
            "test": test,
        }

    def _files(self, train: bool) -> InMemoryDataset:
        missing = [path for path in (Path(self.root), *Path(self.root).parents) if not path.exists()]
        try:
            files = open_files(self.torchvision_class, self.root, self.download, train=train)
        except (ConnectionError, FileNotFoundError):
            _remove_empty(missing)
            raise
        images = torch.as_tensor(files.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return InMemoryDataset(images, torch.as_tensor(files.targets, dtype=torch.int64))


def _remove_empty(folders: Sequence[Path]) -> None:
    """Take away the empty folders that a download has made: those within the first, then these themselves."""
    for folder, _, _ in os.walk(folders[0], topdown=False) if folders else ():
        with suppress(OSError):  # not empty
            os.rmdir(folder)
    for path in folders[1:]:
        with suppress(OSError):
            path.rmdir()
