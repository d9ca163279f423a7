"""Data modules: images and points with labels, in [-1, 1] on the device, for any model.

Names are imported on first use: what reads images alone needs no Lightning.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.arrays import ArrayDataModule
    from datamodules.base import DataModule
    from datamodules.cifar10 import CIFAR10DataModule
    from datamodules.colourising import GreyToColourDataModule
    from datamodules.datasets import BatchDataset, InMemoryDataset, Split
    from datamodules.digits import DigitsDataModule
    from datamodules.formats.huggingface_module import HuggingFaceDataModule
    from datamodules.image_folder import ImageFolderDataModule
    from datamodules.latents import LatentDataModule
    from datamodules.mixtures import MixtureDataModule
    from datamodules.mnist import FashionMNISTDataModule, MNISTDataModule
    from datamodules.paired import PairedDataModule
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
    "GreyToColourDataModule",
    "HuggingFaceDataModule",
    "ImageFolderDataModule",
    "InMemoryDataset",
    "LatentDataModule",
    "MNISTDataModule",
    "MixtureDataModule",
    "PairedDataModule",
    "RecolouredDigitsDataModule",
    "Split",
    "StackedMNISTDataModule",
    "StreamingDataModule",
    "Summary",
    "UnpairedDataModule",
]

_HOMES = {
    "ArrayDataModule": "arrays",
    "BatchDataset": "datasets",
    "CIFAR10DataModule": "cifar10",
    "DataModule": "base",
    "DigitsDataModule": "digits",
    "FashionMNISTDataModule": "mnist",
    "GreyToColourDataModule": "colourising",
    "HuggingFaceDataModule": "formats.huggingface_module",
    "ImageFolderDataModule": "image_folder",
    "InMemoryDataset": "datasets",
    "LatentDataModule": "latents",
    "MNISTDataModule": "mnist",
    "MixtureDataModule": "mixtures",
    "PairedDataModule": "paired",
    "RecolouredDigitsDataModule": "recoloured",
    "Split": "datasets",
    "StackedMNISTDataModule": "stacked",
    "StreamingDataModule": "streaming",
    "Summary": "summary",
    "UnpairedDataModule": "unpaired",
}

if not TYPE_CHECKING:  # else a checker takes every unknown name for Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'datamodules' has no attribute {name!r}")
        return getattr(importlib.import_module(f"datamodules.{_HOMES[name]}"), name)
