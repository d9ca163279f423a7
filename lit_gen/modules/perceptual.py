"""Distances of images in the features of a trained classifier."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from lit_gen.losses.perceptual import PerceptualLoss
from lit_gen.metrics import Extractor, load_extractor


@dataclass(frozen=True)
class ClassifierFeatures(PerceptualLoss):
    """Features of a classifier that is shipped for the data, or of a ``.safetensors`` file, frozen.

    Scores in the same features (``fd_<extractor>``) then measure what was trained.

    Args:
        extractor: its name.
    """

    extractor: str = "digits"

    def check(self, image_shape: tuple[int, ...], discriminator: nn.Module | None) -> None:
        """Needs images of the classifier's shape."""
        network = _frozen(self.extractor)
        if not network.takes(image_shape):
            raise ValueError(
                f"perceptual.extractor={self.extractor!r}: takes {network.image_shape}, the images are {image_shape}"
            )

    def features(self, images: Tensor, discriminator: nn.Module | None) -> list[Tensor]:
        """The classifier's feature vectors, float32 with autocast off."""
        network = _frozen(self.extractor).to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            return [network(images.float())]


@lru_cache(maxsize=2)
def _frozen(name: str) -> Extractor:
    return load_extractor(name).eval().requires_grad_(False)
