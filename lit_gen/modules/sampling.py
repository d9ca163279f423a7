"""Models of images by latent variables, as modules that train."""

from abc import ABC

from torch import Tensor

from lit_gen import models
from lit_gen.modules.base import Batch, GenerativeModule


class LatentVariableModel(models.LatentVariableModel, GenerativeModule, ABC):
    """A :class:`lit_gen.models.LatentVariableModel` that trains."""

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """As many samples as the batch has images, of its classes, the same on any number of processes."""
        noise = self.random.normal(len(batch[0]), self.noise_dim)
        return self.from_noise(noise.to(self.device, self.dtype), *self.labels_of(batch))
