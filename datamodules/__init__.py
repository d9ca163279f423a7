"""Data modules: images and points with labels, in [-1, 1] on the device, for any model."""

from datamodules.arrays import ArrayDataModule
from datamodules.base import DataModule
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.datasets import BatchDataset, InMemoryDataset, Split
from datamodules.digits import DigitsDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.mixtures import MixtureDataModule
from datamodules.mnist import FashionMNISTDataModule, MNISTDataModule
from datamodules.recoloured import RecolouredDigitsDataModule
from datamodules.stacked import StackedMNISTDataModule
from datamodules.streaming import StreamingDataModule
from datamodules.summary import Summary
from datamodules.unpaired import UnpairedDataModule

__all__ = [
    "ArrayDataModule",
    "BatchDataset",
    "CIFAR10DataModule",
    "DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageFolderDataModule",
    "InMemoryDataset",
    "MNISTDataModule",
    "MixtureDataModule",
    "RecolouredDigitsDataModule",
    "Split",
    "StackedMNISTDataModule",
    "StreamingDataModule",
    "Summary",
    "UnpairedDataModule",
]
