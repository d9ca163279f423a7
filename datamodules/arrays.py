"""Images or points from one .npz or .npy file."""

import os
from typing import Any, Literal

from torch import Tensor

from datamodules.array_file import ArrayFile
from datamodules.array_images import ArrayImages
from datamodules.base import DataModule
from datamodules.datasets import BatchDataset, InMemoryDataset, Split
from datamodules.summary import Found


class ArrayDataModule(DataModule):
    """Images or points from a NumPy file, read without pickle.

    What the file may hold:
        * images: (N, H, W), (N, H, W, C) or (N, C, H, W) of uint8, values 0..255; of uint16, 0..65,535; of bool; or of
          another type together with `white`. They are kept as uint8;
        * points: float (N, D), finite;
        * labels: integers from 0, or words, (N,) or (N, 1), or one-hot rows (N, K); num_classes is the largest
          label + 1, or the number of words;
        * ``class_names``: words (K,).

    Names inside an .npz, in whatever case: ``x_train``, ``y_train``, ``x_val``, ``y_val``, ``x_test``, ``y_test``; or
    ``train_images``, ``train_labels``, ``val_images``, ...; or ``train``, ``train_labels``, ``val``, ...; or
    ``images`` with ``labels``; or ``arr_0`` with ``arr_1``; or a single array of any name. The splits may also be
    called training, trainset; valid, validation, dev, eval; testing, testset. Labels are optional. A split that the
    file doesn't have is taken from the training images by its share, with a fixed permutation, so that arrays sorted
    by class do no harm; all share one array in memory.

    Args:
        path: the .npz or .npy file.
        layout: order of the axes of 4-D images; auto finds the axis (last or second) of size 1, 3 or 4.
        val_share: share of images for validation if the file has no such split; 0 for none.
        test_share: share of images for the test split if the file has no such split; 0 for none.
        ending: takes only the arrays whose names end so, and reads their names without it: "A" for ``trainA`` and
            ``testA`` of a file that also holds ``trainB`` and ``testB``.
        images: name of the images if it is another, with ``{}`` for the split's name if there are splits.
        labels: the same for the labels; ``none`` for no labels; or a .npy, .csv or .json file with a label for each
            image, in their order.
        renumber: make classes only of the numbers that occur, named by them; None does so where fewer than one number
            in ten occurs.
        white: the stored value that becomes white; None for the type's own. Larger values are an error.
        **kwargs: batch_size, num_workers, flip, seed and the loader's options of `DataModule`.
    """

    def __init__(
        self,
        path: str,
        layout: Literal["auto", "NHWC", "NCHW"] = "auto",
        val_share: float = 0.1,
        test_share: float = 0.1,
        ending: str = "",
        images: str | None = None,
        labels: str | None = None,
        renumber: bool | None = None,
        white: float | None = None,
        **kwargs: Any,
    ):
        path = os.fspath(path)
        super().__init__(**kwargs)
        self._arrays = ArrayImages(path, layout, val_share, test_share, ending, images, labels, renumber, white)
        self.path = path
        self.name = self._arrays.name

    @property
    def file(self) -> ArrayFile:
        """The file's headers; the arrays are read later."""
        return self._arrays.file

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,), from the headers.

        Raises:
            ValueError: an array is neither images nor points, its layout is not clear, or the splits differ.
        """
        return self._arrays.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes, or 0 without labels; reads the labels, not the images."""
        return self._arrays.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes: those of the file, else the labels; reads the labels, not the images."""
        return self._arrays.class_names

    def read(self) -> dict[Split, BatchDataset]:
        """Reads the arrays as (N, C, H, W) or (N, D); takes splits that the file doesn't have from train.

        Raises:
            ValueError: no training images, points that are not finite, values above white, labels that don't fit, or
                too few images to divide.
        """
        return self._arrays.read()

    def part(self, split: Split) -> InMemoryDataset:
        """A split that the file has, whole; train if its names say none."""
        return self._arrays.part(split)

    def labels(self, split: Split) -> Tensor | None:
        """Class of each image of such a split, or None without labels."""
        return self._arrays.labels(split)

    @property
    def left_out(self) -> dict[str, int]:
        """Arrays that are not used."""
        return self._arrays.left_out

    def found(self, look: int | None) -> Found:
        """The range of all stored values, and the arrays that are not used."""
        return self._arrays.found(look)
