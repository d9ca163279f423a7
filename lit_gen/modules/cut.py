"""The training of unpaired translation by the contrast of patches."""

import math

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.models.translation import Domain
from lit_gen.modules.base import Batch
from lit_gen.modules.translation import TranslationModule
from lit_gen.training.augmentation.ada import followed


class CUT(models.CUT, TranslationModule):
    """The training of :class:`lit_gen.models.CUT`, whose arguments it takes.

    One training batch ``{"a": (images, labels), "b": …}`` is one step of the generator and the projecting layers on

        w L_G(D(G(a)))  +  λ_X PatchNCE(G(a), a)  +  λ_Y PatchNCE(G(b), b),

    and then one step of D on b and that step's G(a).
    """

    def training_step(self, batch: dict[Domain, Batch], batch_idx: int) -> None:
        """The generator, then the discriminator on what that has made."""
        a, b = self.domains(batch)
        made: list[Tensor] = []

        def generator(a: Tensor, b: Tensor, *numbers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, fake = self.generator_loss(a, b, *numbers)
            made.append(fake)
            return loss, values

        positions = math.prod(self.image_shape[1:])
        places = [self.random.uniform(len(x), positions) for x in (a, b)]
        if self.update("generator", generator, a, b, *places, *self.view_numbers(b)):
            self.update("discriminator", self.discriminator_loss, b, torch.cat(made), *self.view_numbers(b))

    def view_numbers(self, b: Tensor) -> list[Tensor]:
        """Random numbers of the discriminator's views of b and of translations; none without augmentation."""
        drawn = [self.view.numbers(b, self.random, self.images_seen) for _ in range(2)]
        return [numbers for numbers in drawn if numbers is not None]

    def seen(self, b: Tensor, fake: Tensor, numbers: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Images of b and translations as the discriminator sees them."""
        return self.view.both(b, fake, *(numbers or (None, None)))

    def generator_loss(
        self, a: Tensor, b: Tensor, places_a: Tensor, places_b: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The generator's loss, its terms without their weights, and G(a).

        Args:
            a: Images ``(N, *image_shape)``.
            b: Likewise.
            places_a: Uniform numbers ``(N, H W)`` by which patches of a are chosen.
            places_b: Likewise of b.
            *view_numbers: Of the discriminator's views.
        """
        if self.identity_weight > 0:
            made, features = self.generator_ab.with_features(torch.cat([a, b]))
            numbers = torch.cat([places_a, places_b])
        else:
            made, features = self.generator_ab.with_features(a)
            numbers = places_a
        fake = made[: len(a)]
        seen_b, seen_fake = self.seen(b, fake, view_numbers)
        values = {"adversarial": Judge(self.discriminator).generator_loss(self.loss, seen_fake, seen_b)[0]}
        loss = self.adversarial_weight * values["adversarial"]
        contrasts = self.contrasts(made, features, numbers, len(a))
        weights = {"contrast": self.contrast_weight, "identity": self.identity_weight}
        for (name, weight), contrast in zip(weights.items(), contrasts, strict=False):
            values[name] = contrast
            loss = loss + weight * contrast
        return loss, {"generator_loss": loss, **values}, fake.detach()

    def contrasts(self, made: Tensor, features: list[Tensor], numbers: Tensor, count: int) -> list[Tensor]:
        """PatchNCE of the first ``count`` translations against what they were made of, and of the others."""
        places = self.contrast.places(features, numbers)
        with torch.no_grad():
            keys = self.projector(self.contrast.patches(features, places))
        queries = self.projector(self.contrast.patches(self.generator_ab.features(made), places))
        parts = [slice(0, count), slice(count, None)][: 1 if len(made) == count else 2]
        return [self.contrast([q[part] for q in queries], [k[part] for k in keys]) for part in parts]

    def discriminator_loss(self, b: Tensor, fake: Tensor, *view_numbers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(b), D(G(a)))."""
        scores = Judge(self.discriminator).both(*self.seen(b, fake, view_numbers))
        loss = self.loss.discriminator(scores.real, scores.fake)
        told = followed(self.view.memory, self.loss, scores.real, scores.fake, self.batch_mean)
        return loss, {"discriminator_loss": loss, **told}

    def scores(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Of b, and of translations to it."""
        return {"real_scores": self.discriminator(b), "fake_scores": self.discriminator(self.translate(a))}
