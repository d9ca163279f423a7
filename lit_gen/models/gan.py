"""Generative adversarial networks: the two networks, and the options that their papers differ by."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from lit_gen.losses import AdversarialLoss, Constraint, NonSaturating, Penalty, WeightClip
from lit_gen.models.adversarial import AdversarialModel
from lit_gen.models.unrolled import Unroll
from lit_gen.networks import Discriminator, Generator, auto_discriminator, auto_generator, couples_batch
from lit_gen.optimizers import for_lazy_penalty
from lit_gen.training.player import Adversaries, check_names
from lit_gen.training.regularizers import Regularizer
from lit_gen.training.standing import StandingStatistics
from lit_gen.training.view import View, check_images

GeneratorFactory = Callable[[tuple[int, ...], int], Generator]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]


class GAN(AdversarialModel):
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    With ``conditional`` both players get the labels (Mirza and Osindero 2014, arXiv:1411.1784), each in the way that
    its network's ``condition`` says; a discriminator that classifies makes it an AC-GAN (Odena et al. 2017,
    arXiv:1610.09585): E log P(y|x) + E log P(y|G(z, y)) times ``auxiliary_weight`` is then part of both gains.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z ~ N(0, I).
        generator: Makes the generator from (image_shape, latent_dim), and num_classes if conditional; by default
            DCGAN's for images, else an MLP.
        discriminator: Makes the discriminator from (image_shape), and num_classes if conditional.
        loss: What the two players minimise.
        penalty: Added to the discriminator's loss.
        constraint: Kept on the discriminator's weights.
        regularizer: Added to the discriminator's loss, against overfitting to few images (``LeCam``, ``Consistency``).
        n_critic: Discriminator steps for each round of generator steps.
        n_generator: Generator steps in a round.
        reuse_fakes: Let a round's first generator step improve the very images that the discriminator has just been
            trained on, which saves a pass of the generator, in place of fresh ones.
        ema_half_life: Half-life of the generator's weight average, in images generated for its updates;
            null for none. Samples and scores come from the average.
        ema_ramp_up: Largest half-life as a share of the images seen so far, as in StyleGAN2-ADA (Karras et al.
            2020, arXiv:2006.06676), so that the average forgets the first weights early; null for none.
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
        bounded: Whether the data lie in [-1, 1], as images do and latents don't, whose generator's factory is told
            ``bounded=False``; on the command line it comes from the data module.
        auxiliary_weight: Factor of the classification terms of an AC-GAN.
        unroll: Discriminator steps that the generator looks ahead (Metz et al. 2017, arXiv:1611.02163); null for none.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.
        **players: How each player is trained: the arguments of ``Adversaries``.

    Raises:
        ValueError: for counts below 1, a batch that doesn't divide by ``pack``, a penalty on a discriminator
            with batch norm, ``conditional`` without labels or together with ``pack``, ``unroll`` together with a
            penalty, a regularizer or a constraint that acts on steps, ``reuse_fakes`` together with parts of a batch.
    """

    options: ClassVar = (Adversaries,)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 128,
        generator: GeneratorFactory = auto_generator,
        discriminator: DiscriminatorFactory = auto_discriminator,
        loss: AdversarialLoss = NonSaturating(),
        penalty: Penalty | None = None,
        constraint: Constraint | None = None,
        regularizer: Regularizer | None = None,
        n_critic: int = 1,
        n_generator: int = 1,
        reuse_fakes: bool = False,
        ema_half_life: float | None = 10_000,
        ema_ramp_up: float | None = 0.05,
        standing_batches: int = 0,
        instance_noise: float = 0.0,
        instance_noise_images: int | None = None,
        pack: int = 1,
        num_classes: int = 0,
        conditional: bool = False,
        bounded: bool = True,
        auxiliary_weight: float = 1.0,
        unroll: Unroll | None = None,
        init_from: str | None = None,
        **players: Any,
    ) -> None:
        super().__init__(image_shape, latent_dim, num_classes, conditional, ema_half_life, ema_ramp_up, bounded)
        self.loss, self.penalty, self.constraint, self.unroll = loss, penalty, constraint, unroll
        self.n_critic, self.n_generator, self.pack = n_critic, n_generator, pack
        self.auxiliary_weight, self.reuse_fakes, self.regularizer = auxiliary_weight, reuse_fakes, regularizer
        check_names(type(self), players, Adversaries)
        trained_by = Adversaries(**players)
        self._check(trained_by)
        self.view = View(pack, instance_noise, instance_noise_images, trained_by.augmentation, self.image_shape)
        self.standing = StandingStatistics(standing_batches, latent_dim, self.condition.get("num_classes", 0))
        self.generator = generator(self.image_shape, latent_dim, **self.condition, **self.range)
        self.packed_shape = self.view.packing.shape(self.image_shape)
        self.discriminator = discriminator(self.packed_shape, **self.condition)
        self.auxiliary = conditional and self.discriminator.classifies
        if penalty is not None:
            penalty.check(self.discriminator)
            if penalty.correct_optimizer:
                corrected = for_lazy_penalty(trained_by.discriminator_optimizer, penalty.interval)
                trained_by = replace(trained_by, discriminator_optimizer=corrected)
        if constraint is not None:
            constraint.prepare(self.discriminator)
        for name in ("loss", "penalty", "regularizer"):
            self.remember(name, getattr(self, name), "discriminator")
        self.remember_view(self.view)
        # Real and fake images share a pass unless the discriminator compares the samples of a batch.
        self.shared_pass = not couples_batch(self.discriminator)
        players_in_turn = [trained_by.player(name, name) for name in ("discriminator", "generator")]
        self.define(players_in_turn, averaged=["generator"], init_from=init_from)

    def _check(self, trained_by: Adversaries) -> None:
        """Refuse options out of range, and such as don't go together."""
        for name in ("n_critic", "n_generator", "pack"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name}={count}: at least 1 {'sample' if name == 'pack' else 'step'} is needed")
        if self.conditional and self.pack > 1:
            raise ValueError(
                f"pack={self.pack}, conditional=True: images of several classes can't be packed under one label"
            )
        if not 0 <= self.auxiliary_weight < math.inf:
            raise ValueError(f"auxiliary_weight={self.auxiliary_weight}: a finite number, at least 0")
        acting = [name for name in ("penalty", "regularizer") if getattr(self, name) is not None]
        if self.unroll is not None and (acting or isinstance(self.constraint, WeightClip)):
            raise ValueError(
                f"unroll={self.unroll}: the steps ahead know the loss alone; take no penalty, no regularizer and no "
                "weight clip"
            )
        if (changed := getattr(self.regularizer, "augmentation", None)) is not None:
            check_images(changed, "regularizer", self.image_shape)
        parts = (trained_by.generator_accumulate, trained_by.discriminator_accumulate)
        if self.reuse_fakes and max(parts) > 1:
            raise ValueError(
                f"reuse_fakes=True, generator_accumulate={parts[0]}, discriminator_accumulate={parts[1]}: images are "
                "kept for whole batches only"
            )
