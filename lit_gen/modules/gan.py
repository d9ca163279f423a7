"""The training of generative adversarial networks: one procedure; the papers differ by the options of the model."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.modules.adversarial import AdversarialModule, GANDraw
from lit_gen.modules.base import Batch
from lit_gen.precision import at_least_float32
from lit_gen.training.augmentation.ada import followed


class GAN(AdversarialModule, models.GAN):
    """The training of :class:`lit_gen.models.GAN`, whose arguments it takes.

    Each training batch is one discriminator step; every ``n_critic`` of them are followed by ``n_generator``
    generator steps on fresh noise, with this batch's images where the loss compares real and generated ones.
    """

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Algorithm 1: a discriminator step, and after every ``n_critic`` of them the generator's."""
        draw = self.draw(batch)
        if self.reuse_fakes and (self.turns("discriminator") + 1) % self.n_critic == 0:
            draw = self.with_fake(draw)
        made = self.update("discriminator", self.discriminator_loss, draw)
        if self.constraint is not None:
            self.constraint.after_step(self.discriminator)
        if self.turns("discriminator") % self.n_critic == 0:
            for i in range(self.n_generator):
                draw = self.redraw(draw, keep_fake=i == 0 and bool(made))
                self.update("generator", self.generator_loss, draw)

    def updates_in(self, steps: int) -> dict[str, int]:
        """A round of the generator's after every ``n_critic`` of the discriminator's."""
        return {"discriminator": steps, "generator": steps // self.n_critic * self.n_generator}

    def discriminator_loss(self, draw: GANDraw) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(G(z))) plus the penalty, in one loss, so that Adam sees their sum."""
        judge = self.judge(draw.labels)
        with torch.no_grad():
            made = (self.generated(draw) if draw.fake is None else draw.fake).detach()
            draw = replace(draw, fake=made)
            real, fake = self.view.both(draw.real, made, draw.real_view, draw.fake_view)
        changed = self.changed(draw, real, fake)
        game, values = self.discriminator_game(judge, real, fake, *(() if changed is None else (changed,)))
        loss = told = game
        if self.penalty is not None:
            if self.updates["discriminator"] % self.penalty.interval == 0:
                values["penalty"] = self.penalised(judge, draw, real, fake)
                loss = told = game + self.penalty.interval * values["penalty"]
            if self.penalty.interval > 1:  # at every step the same sum is logged, with the penalty's last value
                told = game + values.get("penalty", self._losses.get("discriminator", {}).get("penalty", 0.0))
        return loss, {"discriminator_loss": told, **values}

    def discriminator_game(
        self, judge: Judge, real: Tensor, fake: Tensor, changed: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(G(z))) and the regularizer, which may compare ``changed`` images, without the penalty."""
        scores = judge.both(real, fake)
        loss = self.loss.discriminator(scores.real, scores.fake, **self.recall("loss"))
        values = {"real_score": scores.real.mean(), "fake_score": scores.fake.mean()}
        values |= followed(self.view.memory, self.loss, scores.real, scores.fake, self.batch_mean)
        if scores.classes is not None and judge.labels is not None:
            values["classification"] = cross_entropies(scores.classes, judge.labels)
            loss = loss + self.auxiliary_weight * values["classification"]
        if self.regularizer is not None:
            others = None if changed is None else judge.both(*changed)[:2]
            values["regularizer"] = self.regularizer(scores[:2], others, **self.recall("regularizer"))
            loss = loss + values["regularizer"]
        return loss, values

    def generator_loss(self, draw: GANDraw) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G(D(G(z))), or L_G(D(G(z)), D(x)) of a loss that compares them, by the D that ``unroll`` sees ahead."""
        judge, fake = self.judge(draw.labels), self.seen_fake(draw)
        unseen = self.unroll is None and not self.loss.needs_real and type(self).generator_game is GAN.generator_game
        real = draw.real if unseen else self.view(draw.real, draw.real_view)  # no augmentation of what nobody looks at
        if self.unroll is None:
            return self.generator_game(judge, real, fake)
        discriminator = self._players[0].parameters
        return self.unroll(
            self.discriminator,
            discriminator,
            lambda: self.discriminator_game(judge, real, fake)[0],
            lambda: self.generator_game(judge, real, fake),
        )

    def generator_game(self, judge: Judge, real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G of generated images ``fake``, whose graph leads to the generator."""
        loss, classes = judge.generator_loss(self.loss, fake, real, **self.recall("loss"))
        if classes is not None and judge.labels is not None:
            loss = loss + self.auxiliary_weight * cross_entropies(classes, judge.labels)
        return loss, {"generator_loss": loss}


def cross_entropies(class_scores: Tensor, labels: Tensor) -> Tensor:
    """−E log P(y | x) over each of the batches that follow each other in ``class_scores``, summed."""
    batches = len(class_scores) // len(labels)
    return batches * F.cross_entropy(at_least_float32(class_scores), labels.repeat(batches))
