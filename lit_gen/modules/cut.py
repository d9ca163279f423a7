"""The training of unpaired translation by the contrast of patches."""

import math

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.modules.translation import OneWayModule


class CUT(models.CUT, OneWayModule):
    """The training of :class:`lit_gen.models.CUT`, whose arguments it takes.

    One training batch ``{"a": (images, labels), "b": …}`` is one step of the generator and the projecting layers on

        w L_G(D(G(a)))  +  λ_X PatchNCE(G(a), a)  +  λ_Y PatchNCE(G(b), b),

    and then one step of D on b and that step's G(a).
    """

    def draws(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Those by which patches of a and of b are chosen."""
        positions = math.prod(self.image_shape[1:])
        return [self.random.uniform(len(x), positions) for x in (a, b)]

    def generator_loss(self, a: Tensor, b: Tensor, *numbers: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The generator's loss, its terms without their weights, and G(a).

        Args:
            a: Images ``(N, *image_shape)``.
            b: Likewise.
            *numbers: Uniform ones by which patches of a, and of b, are chosen, ``(N, H W)``; then those of the views.
        """
        places_a, places_b, *view_numbers = numbers
        if self.identity_weight > 0:
            made, features = self.generator_ab.with_features(torch.cat([a, b]))
            places = torch.cat([places_a, places_b])
        else:
            made, features = self.generator_ab.with_features(a)
            places = places_a
        fake = made[: len(a)]
        seen_b, seen_fake = self.seen(a, b, fake, tuple(view_numbers))
        values = {"adversarial": Judge(self.discriminator).generator_loss(self.loss, seen_fake, seen_b)[0]}
        loss = self.adversarial_weight * values["adversarial"]
        contrasts = self.contrasts(made, features, places, len(a))
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
