"""The training of translation from pairs."""

from typing import Any

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.modules.translation import OneWayModule


class Pix2Pix(models.Pix2Pix, OneWayModule):
    """The training of :class:`lit_gen.models.Pix2Pix`, whose arguments it takes.

    One training batch of pairs, ``{"a": (images, labels), "b": …}``, is one step of the generator on

        w L_G(D(a, G(a)))  +  λ ‖G(a) − b‖₁,

    the norm being a mean over values, and then one step of D on ½ L_D(D(a, b), D(a, G(a))), of that step's G(a).
    """

    data_module = "PairedDataModule"
    discriminator_weight = 0.5

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

    def judged(self, a: Tensor, b: Tensor) -> Tensor:
        """Pairs along the channels."""
        return torch.cat([a, b.to(a.dtype)], dim=1)

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
