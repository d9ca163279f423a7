"""The training of unpaired translation between two domains of images."""

from typing import Any

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.models.translation import Domain
from lit_gen.modules.base import Batch
from lit_gen.modules.translation import TranslationModule, l1, together
from lit_gen.training.augmentation.ada import followed


class CycleGAN(models.CycleGAN, TranslationModule):
    """The training of :class:`lit_gen.models.CycleGAN`, whose arguments it takes.

    One training batch ``{"a": (images, labels), "b": …}``
    is one joint step of both generators on

        w [L_G(D_B(G(a))) + L_G(D_A(F(b)))]  +  λ [‖F(G(a)) − a‖₁ + ‖G(F(b)) − b‖₁]
            +  λ κ [‖G(b) − b‖₁ + ‖F(a) − a‖₁],

    norms being means over pixels, and then one joint step of both discriminators on real images and on that
    step's translations, exchanged with older ones from two image pools.
    """

    def training_step(self, batch: dict[Domain, Batch], batch_idx: int) -> None:
        """Both generators, then both discriminators on what those have made and on older translations."""
        a, b = self.domains(batch)
        made: list[tuple[Tensor, Tensor]] = []

        def generators(a: Tensor, b: Tensor, *view_numbers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, fakes = self.generator_loss(a, b, *view_numbers)
            made.append(fakes)
            return loss, values

        if not self.update("generator", generators, a, b, *self.view_numbers(a, b)):
            return  # their translations may be what is wrong
        fake_a, fake_b = (torch.cat(parts) for parts in zip(*made, strict=True))
        fake_a, fake_b = self.exchanged("a", fake_a), self.exchanged("b", fake_b)
        self.update("discriminator", self.discriminator_loss, a, b, fake_a, fake_b, *self.view_numbers(a, b))

    def view_numbers(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Random numbers of the discriminators' views of a, b, translations to a, and to b; none without augmentation.

        There are as many translations to a as images of b, and the reverse.
        """
        batches = ("a", a), ("b", b), ("a", b), ("b", a)
        drawn = [self.views[domain].numbers(x, self.random, self.images_seen) for domain, x in batches]
        return [numbers for numbers in drawn if numbers is not None]

    def seen(self, numbers: tuple[Tensor, ...], *images: Tensor) -> list[Tensor]:
        """Images of a, b, translations to a, and to b as the discriminators see them, by :meth:`view_numbers`."""
        if not numbers:
            return list(images)
        views = (self.views["a"], self.views["b"]) * 2
        return [view(x, own) for view, x, own in zip(views, images, numbers, strict=True)]

    def generator_loss(
        self, a: Tensor, b: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor]]:
        """The generators' joint loss, its terms without their weights, and the translations (F(b), G(a))."""
        if self.identity_factor > 0:
            fake_b, same_b = together(self.generator_ab, a, b)
            fake_a, same_a = together(self.generator_ba, b, a)
        else:
            fake_b, fake_a = self.generator_ab(a), self.generator_ba(b)
        seen_a, seen_b, seen_fake_a, seen_fake_b = self.seen(view_numbers, a, b, fake_a, fake_b)
        values = {
            "adversarial_ab": Judge(self.discriminator_b).generator_loss(self.loss, seen_fake_b, seen_b)[0],
            "adversarial_ba": Judge(self.discriminator_a).generator_loss(self.loss, seen_fake_a, seen_a)[0],
            "cycle_a": l1(self.generator_ba(fake_b), a),
            "cycle_b": l1(self.generator_ab(fake_a), b),
        }
        loss = self.adversarial_weight * (values["adversarial_ab"] + values["adversarial_ba"])
        loss = loss + self.cycle_weight * (values["cycle_a"] + values["cycle_b"])
        if self.identity_factor > 0:
            values |= {"identity_a": l1(same_a, a), "identity_b": l1(same_b, b)}
            loss = loss + self.cycle_weight * self.identity_factor * (values["identity_a"] + values["identity_b"])
        return loss, {"generator_loss": loss, **values}, (fake_a.detach(), fake_b.detach())

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D_A(a), D_A(fake a)) + L_D(D_B(b), D_B(fake b))."""
        a, b, fake_a, fake_b = self.seen(view_numbers, a, b, fake_a, fake_b)
        of_a, of_b = Judge(self.discriminator_a).both(a, fake_a), Judge(self.discriminator_b).both(b, fake_b)
        values = {
            "discriminator_a": self.loss.discriminator(of_a.real, of_a.fake),
            "discriminator_b": self.loss.discriminator(of_b.real, of_b.fake),
        }
        loss = values["discriminator_a"] + values["discriminator_b"]
        for domain, scores in {"a": of_a, "b": of_b}.items():
            told = followed(self.views[domain].memory, self.loss, scores.real, scores.fake, self.batch_mean)
            values |= {f"{name}_{domain}": value for name, value in told.items()}
        return loss, {"discriminator_loss": loss, **values}

    def scores(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Of a and translations to it by the discriminator of a, and the same of b."""
        return {
            "real_scores_a": self.discriminator_a(a),
            "fake_scores_a": self.discriminator_a(self.translate(b, to="a")),
            "real_scores_b": self.discriminator_b(b),
            "fake_scores_b": self.discriminator_b(self.translate(a, to="b")),
        }

    def exchanged(self, domain: Domain, fakes: Tensor) -> Tensor:
        """This process's translations, exchanged with the pool of its domain.

        Every process takes the translations of all, in their order in the global batch, through the same pool: it is
        that of one process, and the one in the checkpoint.
        """
        uniform = self.random.uniform(len(fakes), 2)
        rank, world_size = self.random.rank, self.random.world_size
        if world_size > 1:
            gathered: Any = self.all_gather((fakes, uniform))  # (process, position on it, *)
            fakes, uniform = (x.transpose(0, 1).flatten(0, 1) for x in gathered)
        return self.pools[domain](fakes, uniform)[rank::world_size]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the pools beside the counters."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["lit_gen"]["pools"] = {domain: pool.state_dict() for domain, pool in self.pools.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the pools and the counters."""
        super().on_load_checkpoint(checkpoint)
        for domain, state in checkpoint.get("lit_gen", {}).get("pools", {}).items():
            self.pools[domain].load_state_dict(state)
