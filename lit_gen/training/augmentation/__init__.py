"""Random transformations of what a discriminator sees, so that few images last longer."""

from lit_gen.training.augmentation.ada import ADA
from lit_gen.training.augmentation.base import Augmentation
from lit_gen.training.augmentation.diff_augment import DiffAugment

__all__ = ["ADA", "Augmentation", "DiffAugment"]
