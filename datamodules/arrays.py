"""Images or points from one file of arrays: NumPy's, HDF5, MATLAB's, PyTorch's."""

import os
from typing import Any, Literal

from torch import Tensor

from datamodules.array_file import ArrayFile
from datamodules.array_images import ArrayImages, ArrayPart
from datamodules.base import DataModule
from datamodules.datasets import BatchDataset, Split
from datamodules.formats.row_images import RowImages
from datamodules.loader import ShuffledSampler, WindowSampler
from datamodules.summary import Found


class ArrayDataModule(DataModule):
    """Images or points from a file of arrays: .npz and .npy, HDF5 (.h5, .hdf5), .mat, or tensors (.pt, .pth).

    Nothing is run or unpickled, of tensors only what ``weights_only`` takes. Of HDF5, and of .mat files of version 7.3,
    a batch reads its own images, and some 64 are looked at before training; the others are read into memory whole.

    What the file may hold:
        * images: (N, H, W), (N, H, W, C) or (N, C, H, W) of uint8, values 0..255; of uint16, 0..65,535; of bool; or of
          another type together with `white`. They are kept as uint8;
        * points: float (N, D), finite;
        * labels: integers from 0, or words, (N,) or (N, 1), or one-hot rows (N, K); num_classes is the largest
          label + 1, or the number of words; or rows of attributes, of which `attributes` makes classes;
        * ``class_names``: words (K,), or ``attribute_names``.

    Names inside, in whatever case: ``x_train``, ``y_train``, ``x_val``, ``y_val``, ``x_test``, ``y_test``; or
    ``train_images``, ``train_labels``, ``val_images``, ...; or ``train``, ``train_labels``, ``val``, ...; or
    ``images`` or ``imgs`` with ``labels``; or ``X`` with ``y``; or ``data`` with ``labels`` or ``targets``; or
    ``arr_0`` with ``arr_1``; or a single array of any name. Arrays in groups, ``train/images``, count as well. The
    splits may also be called training, trainset; valid, validation, dev, eval; testing, testset. Labels are optional. A
    split that the file doesn't have is taken from the training images by its share, with a fixed permutation, so that
    arrays sorted by class do no harm; all share one array in memory.

    Args:
        path: the file.
        layout: order of the axes of 4-D images; auto finds the axis (last or second, else third) of size 1, 3 or 4.
            ``HWCN`` is MATLAB's, where the last axis counts the images; auto also sees that by the number of labels.
        val_share: share of images for validation if the file has no such split; 0 for none.
        test_share: share of images for the test split if the file has no such split; 0 for none.
        ending: takes only the arrays whose names end so, and reads their names without it: "A" for ``trainA`` and
            ``testA`` of a file that also holds ``trainB`` and ``testB``.
        images: name of the images if it is another, with ``{}`` for the split's name if there are splits.
        labels: the same for the labels; ``none`` for no labels; or a .npy, .csv or .json file, or a .txt as CelebA's
            list of attributes, with a label for each image, in their order.
        renumber: make classes only of the numbers that occur, named by them; None does so where fewer than one number
            in ten occurs.
        white: the stored value that becomes white; None for the type's own. Larger values are an error.
        attributes: names of attributes that make the classes, where an image has several: ``[Smiling]`` makes the
            classes ``not Smiling`` and ``Smiling``, two of them make four.
        splits: ``auto``, or a file that says the split of each image, in their order, as CelebA's
            ``list_eval_partition.txt``.
        lazy: read the images of HDF5 batch by batch; false reads them into memory at the start, which is faster from
            then on. Where the file's chunks hold several images, which are unpacked together, the training order visits
            the chunks at random and shuffles the images within windows of 256 MiB, which each process keeps.
        **kwargs: batch_size, num_workers, flip, seed and the loader's options of `DataModule`.
    """

    def __init__(
        self,
        path: str,
        layout: Literal["auto", "NHWC", "NCHW", "HWCN"] = "auto",
        val_share: float = 0.1,
        test_share: float = 0.1,
        ending: str = "",
        images: str | None = None,
        labels: str | None = None,
        renumber: bool | None = None,
        white: float | None = None,
        attributes: list[str] | str | None = None,
        splits: str = "auto",
        lazy: bool = True,
        **kwargs: Any,
    ):
        path = os.fspath(path)
        super().__init__(**kwargs)
        self._arrays = ArrayImages(
            path, layout, val_share, test_share, ending, images, labels, renumber, white, attributes, splits, lazy
        )
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

    def order(self, dataset: BatchDataset, rank: int, world_size: int, seed: int) -> ShuffledSampler:
        """Any order; of an HDF5 file in chunks of several images, chunks at random and images at random among many."""
        if isinstance(dataset, RowImages) and dataset.rows_of_chunk > 1:
            place = {"batch_size": self.batch_size, "rank": rank, "world_size": world_size, "seed": seed}
            return WindowSampler(dataset, dataset.window, **place)
        return super().order(dataset, rank, world_size, seed)

    def part(self, split: Split) -> ArrayPart:
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
        """The range of the stored values, and the arrays that are not used."""
        return self._arrays.found(look)
