"""What a generator and a discriminator that play against each other need beside their losses: draws, views, a judge."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_gen.models.adversarial import AdversarialModel
from lit_gen.models.judge import BothViewed, Judge
from lit_gen.modules.base import Batch
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.training.draw import Draw


@dataclass(frozen=True)
class GANDraw(Draw):
    """All that an update of a GAN depends on; with packs of m samples, N/m rows.

    Args:
        real: Images x ``(N/m, *packed_shape)``.
        z: Latents ``(N, latent_dim)``, in packs ``(N/m, m, latent_dim)``.
        epsilon: The penalty's uniform numbers ``(N/m, *epsilon_shape)``.
        real_view: Random numbers of the view of x.
        fake_view: Random numbers of the view of G(z).
        real_change: Those of the regularizer's transformation of x.
        fake_change: Those of its transformation of G(z).
        labels: y ``(N,)``, of real and generated images alike.
        fake: G(z), with its graph, if it is known already.
        undo: Takes back what making ``fake`` has changed.
    """

    real: Tensor
    z: Tensor
    epsilon: Tensor
    real_view: Tensor | None = None
    fake_view: Tensor | None = None
    real_change: Tensor | None = None
    fake_change: Tensor | None = None
    labels: Tensor | None = None
    fake: Tensor | None = None
    undo: Callable[[], None] | None = None

    def take_back(self) -> None:
        """Leave no trace of images whose update is left out."""
        if self.undo is not None:
            self.undo()


class AdversarialModule(LatentVariableModel, AdversarialModel, ABC):
    """The training of an :class:`lit_gen.models.AdversarialModel`; a subclass gives the losses."""

    def draw(self, batch: Batch) -> GANDraw:
        """What the discriminator's update depends on: the batch, z, and the penalty's and the view's numbers."""
        n, real = len(batch[0]), self.view.packing.pack(self.as_input(batch[0]))
        z, epsilon = self.view.packing.group(self.noise(n)), self.uniform(len(real))
        of_real, of_fake = (self.view.numbers(real, self.random, self.images_seen) for _ in range(2))
        draw = GANDraw(real, z, epsilon, of_real, of_fake, labels=batch[1] if self.conditional else None)
        if self.regularizer is not None and self.regularizer.augmentation is not None:
            count = self.pack * self.regularizer.augmentation.numbers(self.image_shape)
            of_real, of_fake = (self.random.uniform(len(real), count) for _ in range(2))
            draw = replace(draw, real_change=of_real, fake_change=of_fake)
        return draw

    def redraw(self, draw: GANDraw, keep_fake: bool = False) -> GANDraw:
        """The same batch for the generator's update, with other latents unless G(z) is known and kept."""
        if not keep_fake or draw.fake is None:
            z = self.view.packing.group(self.noise(len(draw) * self.pack))
            draw = replace(draw, z=z, fake=None, undo=None)
        return replace(draw, fake_view=self.view.numbers(draw.real, self.random, self.images_seen))

    def with_fake(self, draw: GANDraw) -> GANDraw:
        """The draw with its G(z), for both players' updates."""
        undo = self.faults.keep([self.generator], self.trainer.scaler is not None)
        with self.kernels():
            return replace(draw, fake=self.generated(draw), undo=undo)

    @abstractmethod
    def discriminator_loss(self, draw: GANDraw) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D and values to log."""

    @abstractmethod
    def generator_loss(self, draw: GANDraw) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G and values to log."""

    def generated(self, draw: GANDraw) -> Tensor:
        """G(z), or G(z, y), in packs: ``(N/m, *packed_shape)``."""
        labels = () if draw.labels is None else (draw.labels,)
        return self.view.packing.generate(self.generator, draw.z, *labels).to(draw.real.dtype)

    def seen_fake(self, draw: GANDraw) -> Tensor:
        """G(z) as the discriminator sees it."""
        return self.view(self.generated(draw) if draw.fake is None else draw.fake, draw.fake_view)

    def penalised(self, judge: Judge, draw: GANDraw, real: Tensor, fake: Tensor) -> Tensor:
        """The penalty at images as the discriminator sees them, or in the images of ``draw`` through an augmentation.

        Args:
            judge: D.
            draw: What the update depends on, with G(z) as it is.
            real: x as seen.
            fake: G(z) as seen.
        """
        memory: Any = self.recall("penalty")
        assert self.penalty is not None
        if self.view.augmentation is None or not self.penalty.of_images:
            return self.penalty(judge, real, fake, draw.epsilon, **memory)
        assert draw.fake is not None
        assert draw.real_view is not None
        assert draw.fake_view is not None
        seen = BothViewed(judge, self.view, draw.real_view, draw.fake_view)
        return self.penalty(seen, draw.real, draw.fake, draw.epsilon, **memory)

    def changed(self, draw: GANDraw, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor] | None:
        """Seen images, real and generated, transformed by the regularizer's augmentation if it has one."""
        if draw.real_change is None or draw.fake_change is None or self.regularizer is None:
            return None
        augmentation: Any = self.regularizer.augmentation
        of_real = augmentation.of_packs(real, draw.real_change, self.pack)
        return of_real, augmentation.of_packs(fake, draw.fake_change, self.pack)

    def noise(self, n: int) -> Tensor:
        """z ~ N(0, I), ``(n, latent_dim)``."""
        return self.random.normal(n, self.latent_dim)

    def uniform(self, n: int) -> Tensor:
        """The penalty's U[0, 1), ``(n, *epsilon_shape)``; zeros ``(n,)`` without a penalty, which cost no draw."""
        if self.penalty is None:
            self.random.pass_over()
            return torch.zeros(n, device=self.device)
        return self.random.uniform(n, *self.penalty.epsilon_shape(self.packed_shape))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing by itself: callbacks score the samples at the end of the epoch."""

    test_step = validation_step
