"""Generative adversarial networks: one procedure; the papers differ by loss, penalty, constraint and n_critic."""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lit_gen.losses import (
    AdversarialLoss,
    Constraint,
    GradientPenalty,
    NonSaturating,
    Penalty,
    Wasserstein,
    WeightClip,
)
from lit_gen.modules.base import Batch, GenerativeModule
from lit_gen.modules.player import Player
from lit_gen.networks import Discriminator, Generator, auto_discriminator, auto_generator, couples_batch
from lit_gen.optimizers import GANAdam, WGANGPAdam, WGANRMSprop, for_lazy_penalty
from lit_gen.standing import StandingStatistics

GeneratorFactory = Callable[[tuple[int, ...], int], Generator]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]


class GAN(GenerativeModule):
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    Each training batch is one discriminator step; every ``n_critic`` of them are followed by ``n_generator``
    generator steps on fresh noise, with this batch's images where the loss compares real and generated ones.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z ~ N(0, I).
        generator: Makes the generator from (image_shape, latent_dim); by default DCGAN's for images, else an MLP.
        discriminator: Makes the discriminator from (image_shape).
        loss: What the two players minimise.
        penalty: Added to the discriminator's loss.
        constraint: Kept on the discriminator's weights.
        n_critic: Discriminator steps for each round of generator steps.
        n_generator: Generator steps in a round.
        generator_optimizer: Any class of torch.optim or lit_gen.optimizers.
        discriminator_optimizer: Likewise.
        generator_scheduler: Learning-rate schedule counted in generator updates.
        discriminator_scheduler: Learning-rate schedule counted in discriminator updates.
        generator_clip_norm: Largest gradient norm.
        discriminator_clip_norm: Largest gradient norm.
        generator_accumulate: Parts in which a batch is taken, to save memory.
        discriminator_accumulate: Likewise.
        ema_half_life: Half-life of the generator's weight average, in images generated for its updates;
            null for none. Samples and scores come from the average.
        ema_ramp_up: Largest half-life as a share of the images seen so far, 0.05 in StyleGAN2-ADA (Karras et al.
            2020, arXiv:2006.06676); null for none.
        standing_batches: Batches of 64 latents on which the generator's batch norm is measured anew, for samples, at
            the first of them after each change of the weights (``lit_gen.standing``); 0 for the training's running
            statistics.
        instance_noise: Standard deviation of the normal noise on all that the discriminator and its penalty see,
            real and generated (Sønderby et al. 2017, arXiv:1610.04490; Arjovsky and Bottou 2017, arXiv:1701.04862).
        instance_noise_images: Real images after which the noise has gone linearly to zero; null for never.
        pack: m samples that the discriminator judges as one, joined along the channels, or features of points
            (PacGAN, Lin et al. 2018, arXiv:1712.04086). Its factory gets the joined shape, losses and penalties
            N/m scores and joined samples.

    Raises:
        ValueError: for counts below 1, a batch that doesn't divide by ``pack``, or a penalty on a discriminator
            with batch norm.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 128,
        generator: GeneratorFactory = auto_generator,
        discriminator: DiscriminatorFactory = auto_discriminator,
        loss: AdversarialLoss = NonSaturating(),
        penalty: Penalty | None = None,
        constraint: Constraint | None = None,
        n_critic: int = 1,
        n_generator: int = 1,
        generator_optimizer: OptimizerCallable = GANAdam,
        discriminator_optimizer: OptimizerCallable = GANAdam,
        generator_scheduler: LRSchedulerCallable | None = None,
        discriminator_scheduler: LRSchedulerCallable | None = None,
        generator_clip_norm: float | None = None,
        discriminator_clip_norm: float | None = None,
        generator_accumulate: int = 1,
        discriminator_accumulate: int = 1,
        ema_half_life: float | None = 10_000,
        ema_ramp_up: float | None = None,
        standing_batches: int = 0,
        instance_noise: float = 0.0,
        instance_noise_images: int | None = None,
        pack: int = 1,
    ) -> None:
        super().__init__(image_shape, latent_dim, ema_half_life, ema_ramp_up)
        for name, count in {"n_critic": n_critic, "n_generator": n_generator, "pack": pack}.items():
            if count < 1:
                raise ValueError(f"{name}={count}: at least 1 {'sample' if name == 'pack' else 'step'} is needed")
        self.standing = StandingStatistics(standing_batches, latent_dim)
        if not 0 <= instance_noise < math.inf:
            raise ValueError(f"instance_noise={instance_noise}: a finite standard deviation, at least 0")
        if instance_noise_images is not None and instance_noise_images < 1:
            raise ValueError(f"instance_noise_images={instance_noise_images}: at least 1 image, or null for no end")
        self.instance_noise, self.instance_noise_images = instance_noise, instance_noise_images
        self.loss, self.penalty, self.constraint = loss, penalty, constraint
        self.n_critic, self.n_generator = n_critic, n_generator
        self.generator = generator(self.image_shape, latent_dim)
        self.pack, self.packed_shape = pack, (pack * self.image_shape[0], *self.image_shape[1:])
        self.discriminator = discriminator(self.packed_shape)
        if penalty is not None:
            penalty.check(self.discriminator)
            if penalty.correct_optimizer:
                discriminator_optimizer = for_lazy_penalty(discriminator_optimizer, penalty.interval)
        if constraint is not None:
            constraint.prepare(self.discriminator)
        # Real and fake images share a pass unless the discriminator compares the samples of a batch.
        self.shared_pass = not couples_batch(self.discriminator)
        self.define(
            [
                Player(
                    "discriminator",
                    ("discriminator",),
                    discriminator_optimizer,
                    discriminator_scheduler,
                    discriminator_clip_norm,
                    discriminator_accumulate,
                ),
                Player(
                    "generator",
                    ("generator",),
                    generator_optimizer,
                    generator_scheduler,
                    generator_clip_norm,
                    generator_accumulate,
                ),
            ],
            averaged=["generator"],
        )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One discriminator step, and after every ``n_critic`` of them the generator's."""
        n, real = len(batch[0]), self.joined(self.grouped(batch[0].to(self.dtype)))
        z, epsilon = self.grouped(self.noise(n)), self.uniform(len(real))
        real = real + self.blur(real)
        self.update("discriminator", self.discriminator_loss, real, z, epsilon, self.blur(real))
        if self.constraint is not None:
            self.constraint.after_step(self.discriminator)
        if self.updates["discriminator"] % self.n_critic == 0:
            for _ in range(self.n_generator):
                self.update("generator", self.generator_loss, self.grouped(self.noise(n)), real, self.blur(real))

    def discriminator_loss(
        self, real: Tensor, z: Tensor, epsilon: Tensor, fake_noise: Tensor | float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(G(z))) plus the penalty, in one loss, so that Adam sees their sum."""
        with torch.no_grad():
            fake = self.generated(z, fake_noise)
        real_scores, fake_scores = self.scores(real, fake)
        loss = self.loss.discriminator(real_scores, fake_scores)
        values = {"real_score": real_scores.mean(), "fake_score": fake_scores.mean()}
        if self.penalty is not None and self.updates["discriminator"] % self.penalty.interval == 0:
            values["penalty"] = self.penalty(self.discriminator, real, fake, epsilon)
            loss = loss + self.penalty.interval * values["penalty"]
        return loss, {"discriminator_loss": loss, **values}

    def generator_loss(
        self, z: Tensor, real: Tensor | None = None, fake_noise: Tensor | float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G(D(G(z))), or L_G(D(G(z)), D(x)) of a loss that compares them."""
        fake = self.generated(z, fake_noise)
        if self.loss.needs_real and real is not None:
            real_scores, fake_scores = self.scores(real, fake)
            loss = self.loss.generator(fake_scores, real_scores)
        else:
            loss = self.loss.generator(self.discriminator(fake))
        return loss, {"generator_loss": loss}

    def generated(self, z: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """G(z) as the discriminator takes it, ``(N/m, *packed_shape)``, with instance noise."""
        if self.pack == 1:
            return self.generator(z) + noise
        return self.joined(self.generator(z.flatten(0, 1)).unflatten(0, (-1, self.pack))) + noise

    def grouped(self, x: Tensor) -> Tensor:
        """Packs ``(N/m, m, *)`` of a batch ``(N, *)``, which is left as it is if m = 1.

        Sample i goes with i + N/m, i + 2N/m, …, and so with the same ones on any number of processes.
        """
        if self.pack == 1:
            return x
        if len(x) % self.pack:
            raise ValueError(f"pack={self.pack}: the batch of {len(x)} samples on each process must divide by it")
        return x.unflatten(0, (self.pack, -1)).transpose(0, 1)

    def joined(self, packs: Tensor) -> Tensor:
        """Packs ``(N/m, m, C, *)`` as samples of m C channels or features, ``(N/m, m C, *)``."""
        return packs if self.pack == 1 else packs.flatten(1, 2)

    def scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's raw scores ``(N,)`` of real and of fake images."""
        if not self.shared_pass:
            return self.discriminator(real), self.discriminator(fake)
        scores = self.discriminator(torch.cat([real, fake.to(real.dtype)]))
        return scores[: len(real)], scores[len(real) :]

    def noise(self, n: int) -> Tensor:
        """z ~ N(0, I), ``(n, latent_dim)``."""
        return self.random.normal(n, self.latent_dim)

    def uniform(self, n: int) -> Tensor:
        """The penalty's U[0, 1), ``(n, *epsilon_shape)``."""
        shape = () if self.penalty is None else self.penalty.epsilon_shape(self.packed_shape)
        return self.random.uniform(n, *shape)

    def blur(self, x: Tensor) -> Tensor:
        """Instance noise for a batch like ``x``; zeros, without memory of their own, where there is none."""
        left = 1.0 if self.instance_noise_images is None else 1 - self.images_seen / self.instance_noise_images
        if self.instance_noise == 0 or left <= 0:
            return x.new_zeros(()).expand_as(x)
        return self.instance_noise * left * self.random.normal(*x.shape)

    def decode(self, z: Tensor) -> Tensor:
        """G(z) of the averaged generator."""
        return self.standing(self.network("generator"))(z)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing by itself: callbacks score the samples at the end of the epoch."""

    test_step = validation_step


class WGAN(GAN):
    """Wasserstein GAN with weight clipping (Arjovsky et al. 2017, arXiv:1701.07875)."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 128,
        loss: AdversarialLoss = Wasserstein(),
        constraint: Constraint | None = WeightClip(),
        n_critic: int = 5,
        generator_optimizer: OptimizerCallable = WGANRMSprop,
        discriminator_optimizer: OptimizerCallable = WGANRMSprop,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            latent_dim,
            loss=loss,
            constraint=constraint,
            n_critic=n_critic,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )


class WGANGP(GAN):
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028)."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 128,
        loss: AdversarialLoss = Wasserstein(),
        penalty: Penalty | None = GradientPenalty(),
        n_critic: int = 5,
        generator_optimizer: OptimizerCallable = WGANGPAdam,
        discriminator_optimizer: OptimizerCallable = WGANGPAdam,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            latent_dim,
            loss=loss,
            penalty=penalty,
            n_critic=n_critic,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )
