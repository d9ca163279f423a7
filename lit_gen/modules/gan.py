"""Generative adversarial networks: one procedure; the papers differ by loss, penalty, constraint and n_critic."""

import math
from collections.abc import Callable
from functools import partial

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from lit_gen.losses import AdversarialLoss, Constraint, NonSaturating, Penalty, WeightClip
from lit_gen.modules.base import Batch, Objective
from lit_gen.modules.conditioned import Conditioned
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.modules.unrolled import Unroll
from lit_gen.networks import Discriminator, Generator, auto_discriminator, auto_generator, couples_batch
from lit_gen.optimizers import GANAdam, for_lazy_penalty
from lit_gen.precision import at_least_float32
from lit_gen.training.packing import Packing
from lit_gen.training.player import Player
from lit_gen.training.standing import StandingStatistics

GeneratorFactory = Callable[[tuple[int, ...], int], Generator]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]


class GAN(LatentVariableModel):
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    With ``conditional`` both players get the labels (Mirza and Osindero 2014, arXiv:1411.1784), each in the way that
    its network's ``condition`` says; a discriminator that classifies makes it an AC-GAN (Odena et al. 2017,
    arXiv:1610.09585): E log P(y|x) + E log P(y|G(z, y)) times ``auxiliary_weight`` is then part of both gains.

    Each training batch is one discriminator step; every ``n_critic`` of them are followed by ``n_generator``
    generator steps on fresh noise, with this batch's images where the loss compares real and generated ones.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z ~ N(0, I).
        generator: Makes the generator from (image_shape, latent_dim), and num_classes if conditional; by default
            DCGAN's for images, else an MLP.
        discriminator: Makes the discriminator from (image_shape), and num_classes if conditional.
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
        reuse_fakes: Let a round's first generator step improve the very images that the discriminator has just been
            trained on, which saves a pass of the generator, in place of fresh ones.
        ema_half_life: Half-life of the generator's weight average, in images generated for its updates;
            null for none. Samples and scores come from the average.
        ema_ramp_up: Largest half-life as a share of the images seen so far, 0.05 in StyleGAN2-ADA (Karras et al.
            2020, arXiv:2006.06676); null for none.
        standing_batches: Batches of 64 latents on which the generator's batch norm is measured anew, for samples, at
            the first of them after each change of the weights (``lit_gen.training.standing``); 0 for the training's
            running statistics.
        instance_noise: Standard deviation of the normal noise on all that the discriminator and its penalty see,
            real and generated (Sønderby et al. 2017, arXiv:1610.04490; Arjovsky and Bottou 2017, arXiv:1701.04862).
        instance_noise_images: Real images after which the noise has gone linearly to zero; null for never.
        pack: m samples that the discriminator judges as one, joined along the channels, or features of points
            (PacGAN, Lin et al. 2018, arXiv:1712.04086). Its factory gets the joined shape, losses and penalties
            N/m scores and joined samples.
        num_classes: Classes of the data; on the command line it comes from the data module.
        conditional: Model p(x | y), from data with labels.
        auxiliary_weight: Factor of the classification terms of an AC-GAN.
        unroll: Discriminator steps that the generator looks ahead (Metz et al. 2017, arXiv:1611.02163); null for none.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.

    Raises:
        ValueError: for counts below 1, a batch that doesn't divide by ``pack``, a penalty on a discriminator
            with batch norm, ``conditional`` without labels or together with ``pack``, ``unroll`` together with a
            penalty or a constraint that acts on steps, ``reuse_fakes`` together with parts of a batch.
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
        reuse_fakes: bool = False,
        ema_half_life: float | None = 10_000,
        ema_ramp_up: float | None = None,
        standing_batches: int = 0,
        instance_noise: float = 0.0,
        instance_noise_images: int | None = None,
        pack: int = 1,
        num_classes: int = 0,
        conditional: bool = False,
        auxiliary_weight: float = 1.0,
        unroll: Unroll | None = None,
        init_from: str | None = None,
    ) -> None:
        super().__init__(image_shape, latent_dim, num_classes, conditional, ema_half_life, ema_ramp_up)
        for name, count in {"n_critic": n_critic, "n_generator": n_generator, "pack": pack}.items():
            if count < 1:
                raise ValueError(f"{name}={count}: at least 1 {'sample' if name == 'pack' else 'step'} is needed")
        if conditional and pack > 1:
            raise ValueError(
                f"pack={pack}, conditional=True: images of several classes can't be packed under one label"
            )
        if not 0 <= auxiliary_weight < math.inf:
            raise ValueError(f"auxiliary_weight={auxiliary_weight}: a finite number, at least 0")
        if unroll is not None and (penalty is not None or isinstance(constraint, WeightClip)):
            raise ValueError(
                f"unroll={unroll}: the steps ahead know the loss alone; take no penalty and no weight clip"
            )
        if reuse_fakes and max(generator_accumulate, discriminator_accumulate) > 1:
            raise ValueError(
                f"reuse_fakes=True, generator_accumulate={generator_accumulate}, "
                f"discriminator_accumulate={discriminator_accumulate}: images are kept for whole batches only"
            )
        self.auxiliary_weight, self.unroll, self.reuse_fakes = auxiliary_weight, unroll, reuse_fakes
        self.standing = StandingStatistics(standing_batches, latent_dim, self.condition.get("num_classes", 0))
        if not 0 <= instance_noise < math.inf:
            raise ValueError(f"instance_noise={instance_noise}: a finite standard deviation, at least 0")
        if instance_noise_images is not None and instance_noise_images < 1:
            raise ValueError(f"instance_noise_images={instance_noise_images}: at least 1 image, or null for no end")
        self.instance_noise, self.instance_noise_images = instance_noise, instance_noise_images
        self.loss, self.penalty, self.constraint = loss, penalty, constraint
        self.n_critic, self.n_generator = n_critic, n_generator
        self.generator = generator(self.image_shape, latent_dim, **self.condition)
        self.pack, self.packing = pack, Packing(pack)
        self.packed_shape = self.packing.shape(self.image_shape)
        self.discriminator = discriminator(self.packed_shape, **self.condition)
        self.auxiliary = conditional and self.discriminator.classifies
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
            init_from=init_from,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One discriminator step, and after every ``n_critic`` of them the generator's."""
        n, y = len(batch[0]), self.labels_of(batch)
        real = self.packing.pack(batch[0].to(self.dtype))
        z, epsilon = self.packing.group(self.noise(n)), self.uniform(len(real))
        real = real + self.blur(real)
        kept: Tensor | None = None
        if self.reuse_fakes and (self.turns("discriminator") + 1) % self.n_critic == 0:
            put_back = self.faults.keep([self.generator])
            with self.kernels():
                kept = self.generated(z, 0.0, *y)
        told_apart = knowing(self.discriminator_loss, kept)
        stepped = self.update("discriminator", told_apart, real, z, epsilon, self.blur(real), *y)
        if kept is not None and not stepped:
            put_back()
            kept = None
        if self.constraint is not None:
            self.constraint.after_step(self.discriminator)
        if self.turns("discriminator") % self.n_critic == 0:
            for _ in range(self.n_generator):
                z = self.packing.group(self.noise(n)) if kept is None else z
                believed = knowing(self.generator_loss, kept)
                stepped = self.update("generator", believed, z, real, self.blur(real), *y)
                if kept is not None and not stepped:
                    put_back()
                kept = None

    def discriminator_loss(
        self,
        real: Tensor,
        z: Tensor,
        epsilon: Tensor,
        fake_noise: Tensor | float = 0.0,
        *y: Tensor,
        kept: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(G(z))) plus the penalty, in one loss, so that Adam sees their sum. ``kept`` is a known G(z)."""
        with torch.no_grad():
            fake = self.generated(z, fake_noise, *y) if kept is None else kept + fake_noise
        loss, values = self.told_apart(real, fake, *y)
        if self.penalty is not None and self.updates["discriminator"] % self.penalty.interval == 0:
            discriminator = Conditioned(self.discriminator, *y) if y else self.discriminator
            values["penalty"] = self.penalty(discriminator, real, fake, epsilon)
            loss = loss + self.penalty.interval * values["penalty"]
        return loss, {"discriminator_loss": loss, **values}

    def told_apart(self, real: Tensor, fake: Tensor, *y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(G(z))) without the penalty."""
        real_scores, fake_scores, classes = self.scores(real, fake, *y)
        loss = self.loss.discriminator(real_scores, fake_scores)
        values = {"real_score": real_scores.mean(), "fake_score": fake_scores.mean()}
        if classes is not None:
            values["classification"] = cross_entropies(classes, *y)
            loss = loss + self.auxiliary_weight * values["classification"]
        return loss, values

    def generator_loss(
        self,
        z: Tensor,
        real: Tensor | None = None,
        fake_noise: Tensor | float = 0.0,
        *y: Tensor,
        kept: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G(D(G(z))), or L_G(D(G(z)), D(x)) of a loss that compares them, by the D that ``unroll`` sees ahead.

        ``kept`` is G(z) with its graph where it is known already.
        """
        fake = self.generated(z, fake_noise, *y) if kept is None else kept + fake_noise
        believed = partial(self.believed, fake, real, *y)
        if self.unroll is None or real is None:
            return believed()
        discriminator = self._players[0].parameters
        return self.unroll(self.discriminator, discriminator, lambda: self.told_apart(real, fake, *y)[0], believed)

    def believed(self, fake: Tensor, real: Tensor | None, *y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G of generated images."""
        if self.loss.needs_real and real is not None:
            real_scores, fake_scores, classes = self.scores(real, fake, *y)
            loss = self.loss.generator(fake_scores, real_scores)
            classes = None if classes is None else classes[len(real) :]
        else:
            fake_scores, classes = self.judged(fake, *y)
            loss = self.loss.generator(fake_scores)
        if classes is not None:
            loss = loss + self.auxiliary_weight * cross_entropies(classes, *y)
        return loss, {"generator_loss": loss}

    def generated(self, z: Tensor, noise: Tensor | float = 0.0, *y: Tensor) -> Tensor:
        """G(z) as the discriminator takes it, ``(N/m, *packed_shape)``, with instance noise."""
        return self.packing.generate(self.generator, z, *y) + noise

    def judged(self, x: Tensor, *y: Tensor) -> tuple[Tensor, Tensor | None]:
        """The discriminator's raw scores ``(N,)``, and class scores ``(N, num_classes)`` if it classifies."""
        return self.discriminator.classify(x) if self.auxiliary else (self.discriminator(x, *y), None)

    def scores(self, real: Tensor, fake: Tensor, *y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Raw scores ``(N,)`` of real and of fake images, and class scores ``(2N, num_classes)`` if it classifies."""
        fake = fake.to(real.dtype)
        if self.shared_pass:
            scores, classes = self.judged(torch.cat([real, fake]), *(labels.repeat(2) for labels in y))
            return scores[: len(real)], scores[len(real) :], classes
        (of_real, real_classes), (of_fake, fake_classes) = self.judged(real, *y), self.judged(fake, *y)
        both = None if real_classes is None or fake_classes is None else torch.cat([real_classes, fake_classes])
        return of_real, of_fake, both

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

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """G(z), or G(z, y), of the averaged generator."""
        return self.standing(self.network("generator"))(z, *(() if labels is None else (labels,)))

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The discriminator's raw scores ``(N,)`` of images ``(N, *image_shape)`` in [-1, 1], in eval mode.

        With ``pack`` = m they are ``(N/m,)``, of image i with i + N/m, i + 2N/m, …
        """
        labels = None if labels is None else labels.to(self.device)
        x = self.packing.pack(images.to(self.device, self.dtype))  # type: ignore[arg-type]
        with self.evaluating():
            return self.judged(x, *(() if labels is None else (labels,)))[0]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing by itself: callbacks score the samples at the end of the epoch."""

    test_step = validation_step


def knowing(objective: Objective, kept: Tensor | None) -> Objective:
    """The objective with the G(z) that is known already, if one is."""
    return objective if kept is None else partial(objective, kept=kept)


def cross_entropies(class_scores: Tensor, labels: Tensor) -> Tensor:
    """−E log P(y | x) over each of the batches that follow each other in ``class_scores``, summed."""
    batches = len(class_scores) // len(labels)
    return batches * F.cross_entropy(at_least_float32(class_scores), labels.repeat(batches))
