"""The training of translation from pairs."""

from typing import Any

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.models.translation import Domain
from lit_gen.modules.base import Batch
from lit_gen.modules.translation import TranslationModule
from lit_gen.training.augmentation.ada import followed


class Pix2Pix(models.Pix2Pix, TranslationModule):
    """The training of :class:`lit_gen.models.Pix2Pix`, whose arguments it takes.

    One training batch of pairs, ``{"a": (images, labels), "b": …}``, is one step of the generator on

        w L_G(D(a, G(a)))  +  λ ‖G(a) − b‖₁,

    the norm being a mean over values, and then one step of D on ½ L_D(D(a, b), D(a, G(a))), of that step's G(a).
    """

    data_module = "PairedDataModule"

    def on_fit_start(self) -> None:
        """Refuse to learn from images that are no counterparts.

        Raises:
            ValueError: for a data module of two domains without pairs.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if getattr(data, "pairs", None) is False:
            raise ValueError(
                f"data: Pix2Pix needs counterparts, {data.name} has none in training; take PairedDataModule"
            )
        super().on_fit_start()

    def training_step(self, batch: dict[Domain, Batch], batch_idx: int) -> None:
        """The generator, then the discriminator on what that has made."""
        a, b = self.domains(batch)
        made: list[Tensor] = []

        def generator(a: Tensor, b: Tensor, *view_numbers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, fake = self.generator_loss(a, b, *view_numbers)
            made.append(fake)
            return loss, values

        if self.update("generator", generator, a, b, *self.view_numbers(a, b)):
            self.update("discriminator", self.discriminator_loss, a, b, torch.cat(made), *self.view_numbers(a, b))

    def view_numbers(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Random numbers of the discriminator's views of true and of made pairs; none without augmentation."""
        pairs = joined(a, b)
        drawn = [self.view.numbers(pairs, self.random, self.images_seen) for _ in range(2)]
        return [numbers for numbers in drawn if numbers is not None]

    def seen(self, a: Tensor, b: Tensor, fake: Tensor, numbers: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """True pairs and made ones as the discriminator sees them."""
        of_real, of_fake = numbers or (None, None)
        return self.view.both(joined(a, b), joined(a, fake), of_real, of_fake)

    def generator_loss(self, a: Tensor, b: Tensor, *view_numbers: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The generator's loss, its terms without their weights, and G(a)."""
        fake = self.generator_ab(a)
        real_pairs, fake_pairs = self.seen(a, b, fake, view_numbers)
        values = {
            "adversarial": Judge(self.discriminator).generator_loss(self.loss, fake_pairs, real_pairs)[0],
            "reconstruction": self.reconstruction(fake, b),
        }
        loss = self.adversarial_weight * values["adversarial"] + self.reconstruction_weight * values["reconstruction"]
        return loss, {"generator_loss": loss, **values}, fake.detach()

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fake: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """½ L_D(D(a, b), D(a, G(a)))."""
        scores = Judge(self.discriminator).both(*self.seen(a, b, fake, view_numbers))
        loss = self.loss.discriminator(scores.real, scores.fake) / 2
        told = followed(self.view.memory, self.loss, scores.real, scores.fake, self.batch_mean)
        return loss, {"discriminator_loss": loss, **told}

    def scores(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Of pairs, and of a with its translations."""
        real, fake = joined(a, b), joined(a, self.translate(a))
        return {"real_scores": self.discriminator(real), "fake_scores": self.discriminator(fake)}


def joined(a: Tensor, b: Tensor) -> Tensor:
    """Pairs along the channels, as the discriminator takes them."""
    return torch.cat([a, b.to(a.dtype)], dim=1)
