"""The training of variational autoencoders."""

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.modules.variational import VariationalModule

MEAN_IMAGES = 10_000  # whose mean is near enough; a large folder isn't read to its end before the first step


class VAE(VariationalModule, models.VAE):
    """The training of :class:`lit_gen.models.VAE`, whose arguments it takes.

    Validation always logs the bound itself, whatever the training's weights.
    """

    def on_train_start(self) -> None:
        """Let a training from new weights start at the mean of its data, if it is told to.

        Raises:
            ValueError: for that without a data module.
        """
        super().on_train_start()
        if self.start_at_mean and not any(self.updates.values()):
            self.start_at(self._mean_of_data().to(self.device))

    def _mean_of_data(self) -> Tensor:
        """The mean of x over the training images, or over so many of them, evenly spread."""
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise ValueError(
                "start_at_mean=True: the mean is taken over the training images of a data module; give one"
            )
        images = data.dataset("train")
        count = min(MEAN_IMAGES, len(images))
        rows = [i * len(images) // count for i in range(count)]
        generator, total = torch.Generator().manual_seed(0), torch.zeros(self.image_shape, dtype=torch.float64)
        for start in range(0, count, 100):
            x = data.to_float(images.__getitems__(rows[start : start + 100])[0])
            noise = torch.rand(x.shape, generator=generator)
            total += self.likelihood.observe(x, noise).sum(0, dtype=torch.float64)
        return (total / count).float()


class IWAE(VAE, models.IWAE):
    """The training of :class:`lit_gen.models.IWAE`, whose arguments it takes."""
