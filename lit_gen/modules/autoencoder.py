"""The training of autoencoders with a discriminator: one procedure; the papers differ by the options of the model."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.models.judge import Judge
from lit_gen.modules.autoencoding import AutoencodingModule
from lit_gen.modules.base import Batch
from lit_gen.precision import at_least_float32
from lit_gen.training.balance import gradient_ratio, last_layer_gradients, with_gradient
from lit_gen.training.draw import Draw
from lit_gen.training.player import Player
from lit_gen.training.randomness import mix


@dataclass(frozen=True)
class AutoencoderDraw(Draw):
    """All that an update of an autoencoder or its discriminator depends on.

    Args:
        real: Images x ``(N, *image_shape)``.
        noise: ε of the latents ``(N, *latent shape)``, if the bottleneck takes some.
        epsilon: The penalty's uniform numbers ``(N, *epsilon_shape)``.
        reconstruction: x̂ ``(N, *image_shape)`` for the discriminator's update, without its graph.
    """

    real: Tensor
    noise: Tensor | None = None
    epsilon: Tensor | None = None
    reconstruction: Tensor | None = None


class Autoencoder(AutoencodingModule, models.Autoencoder):
    """The training of :class:`lit_gen.models.Autoencoder`, whose arguments it takes."""

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """As all modules do, and refuse images whose features can't be compared."""
        if self.perceptual is not None:
            self.perceptual.check(self.image_shape, self.discriminator)
        super().define(players, averaged, init_from)

    def setup(self, stage: str) -> None:
        """Refuse a precision whose scaled gradients have no norms to compare; read what L_perceptual needs to train."""
        super().setup(stage)
        if self.perceptual is not None and stage == "fit":
            self.perceptual.prepare()
        if self.discriminator is not None and self.trainer.scaler is not None:
            raise ValueError(
                "precision=16-mixed: the discriminator's weight compares unscaled gradients; bf16-mixed can"
            )

    def draw(self, batch: Batch) -> AutoencoderDraw:
        """The batch, and all random numbers of both updates."""
        real, n = self.as_input(batch[0]), len(batch[0])
        shape = self.bottleneck.noise_shape(*self.latent_shape[1:])
        noise = None if shape is None else self.random.normal(n, *shape).to(real)
        epsilon = (
            None if self.penalty is None else self.random.uniform(n, *self.penalty.epsilon_shape(self.image_shape))
        )
        return AutoencoderDraw(real, noise, epsilon)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """The autoencoder's step, its codebook's if it has one, and the discriminator's on that step's images."""
        draw, made = self.draw(batch), []

        def autoencoder(draw: AutoencoderDraw) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, encoded_and_images = self.autoencoder_loss(draw)
            made.append(encoded_and_images)
            return loss, values

        if not self.update("autoencoder", autoencoder, draw):
            return  # its images may be what is wrong
        encoded, images = (torch.cat(parts) for parts in zip(*made, strict=True))
        if self.bottleneck.learns:
            generator = torch.Generator().manual_seed(mix(self.seed or 0, "codebook", self.step))
            self.bottleneck.learn(self.everyones(encoded), generator)
        if self.discriminator is not None:
            self.update("discriminator", self.discriminator_loss, replace(draw, reconstruction=images))

    def updates_in(self, steps: int) -> dict[str, int]:
        """One of each player a step."""
        return {player.name: steps for player in self._players}

    def everyones(self, x: Tensor) -> Tensor:
        """The rows of all processes in the order of the batch, the same everywhere. A collective."""
        if self.random.world_size == 1:
            return x
        gathered: Any = self.all_gather(x)  # (process, position on it, *)
        return gathered.transpose(0, 1).flatten(0, 1)

    # ---- the losses

    def autoencoder_loss(self, draw: AutoencoderDraw) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor]]:
        """L, its terms, and what of the pass is used again: the encoder's maps and x̂.

        L_rec and L_G are differentiated once, in x̂; from there the gradients of the last layer, for λ, and of the rest
        follow.
        """
        encoded = self.encoder(draw.real)
        code = self.bottleneck(encoded, draw.noise)
        features = self.decoder.features(code.latents.to(encoded.dtype))
        images = at_least_float32(self.decoder.crop(self.decoder.last_layer(features)))
        seen, share = images.detach().requires_grad_(), self.adversarial_share
        distance, values = self.distance(seen, draw.real)
        (gradient,), value = torch.autograd.grad(distance, seen), distance
        if self.discriminator is not None and share > 0:
            judge = Judge(self.discriminator)
            deceit, _ = judge.generator_loss(self.loss, seen, draw.real, **self.recall("loss"))
            (of_deceit,) = torch.autograd.grad(deceit, seen)
            ours, theirs = last_layer_gradients(self.decoder, features, gradient, of_deceit)
            gain = gradient_ratio(*self.batch_mean(torch.stack([ours, theirs])))
            gradient, value = gradient + share * gain * of_deceit, distance + share * gain * deceit
            values |= {"adversarial": deceit, "adversarial_gain": share * gain}
        loss = with_gradient(images, value, gradient) + code.loss
        values = {"autoencoder_loss": loss, **values, **code.values}
        return loss, values, (encoded.detach(), images.detach())

    def distance(self, images: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_rec + L_perceptual, and both."""
        distance = self.reconstruction(images, real)
        values = {"reconstruction": distance}
        if self.perceptual is not None:
            values["perceptual"] = self.perceptual(images, real, self.discriminator)
            distance = distance + values["perceptual"]
        return distance, values

    @property
    def adversarial_share(self) -> float:
        """w r, by the images seen."""
        past = self.images_seen - self.adversarial_start
        if past < 0 or self.adversarial_weight == 0:
            return 0.0
        return self.adversarial_weight * min(1.0, past / self.adversarial_ramp if self.adversarial_ramp else 1.0)

    def discriminator_loss(self, draw: AutoencoderDraw) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(x̂)) plus the penalty."""
        assert self.discriminator is not None
        assert draw.reconstruction is not None
        judge, fake = Judge(self.discriminator), draw.reconstruction.to(draw.real.dtype)
        scores = judge.both(draw.real, fake)
        loss = self.loss.discriminator(scores.real, scores.fake, **self.recall("loss"))
        values = {"real_score": scores.real.mean(), "fake_score": scores.fake.mean()}
        if self.penalty is not None and self.updates["discriminator"] % self.penalty.interval == 0:
            assert draw.epsilon is not None
            values["penalty"] = self.penalty(judge, draw.real, fake, draw.epsilon, **self.recall("penalty"))
            loss = loss + self.penalty.interval * values["penalty"]
        return loss, {"discriminator_loss": loss, **values}

    def held_out_values(self, batch: Batch) -> dict[str, Tensor]:
        """L_rec of the latents in their middle, and what the bottleneck says; no discriminator."""
        real = self.as_input(batch[0])
        code = self.bottleneck(self.active("encoder")(real))
        images = self.active("decoder")(code.latents.to(real.dtype))
        values = {type(self.reconstruction).__name__.lower(): self.reconstruction(images, real), **code.values}
        return {**values, "bits_per_pixel": code.bits / math.prod(self.image_shape[1:])}


class AutoencoderKL(Autoencoder, models.AutoencoderKL):
    """The training of :class:`lit_gen.models.AutoencoderKL`, whose arguments it takes."""


class VQGAN(Autoencoder, models.VQGAN):
    """The training of :class:`lit_gen.models.VQGAN`, whose arguments it takes."""


class VQVAE(Autoencoder, models.VQVAE):
    """The training of :class:`lit_gen.models.VQVAE`, whose arguments it takes."""
