"""What all latent variable models with an inference network share: the step, the bound, embeddings, checks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lit_gen.distributions import Likelihood
from lit_gen.losses import ELBO, LayerTerms, Terms, VariationalObjective
from lit_gen.modules.base import Batch
from lit_gen.modules.sampling import SAMPLE_BATCH, LatentVariableModel
from lit_gen.optimizers import VAEAdam
from lit_gen.training.player import Player

__all__ = ["LayerTerms", "LikelihoodFactory", "Terms", "VariationalModule"]

LikelihoodFactory = Callable[[tuple[int, ...]], Likelihood]


class VariationalModule(LatentVariableModel, ABC):
    """A model p(x, z) of images x and latents z, and an inference network q(z|x), trained on a bound of log p(x).

    A subclass builds its networks, names them by :meth:`define_networks`, and gives :meth:`terms`,
    :meth:`posterior_mean` and ``decode``. With ``encoder_steps`` = 0 both networks take one joint step. With k ≥ 1 they
    alternate, as in variational EM: each training batch is a step of the inference network, every k of them are
    followed by a step of the generative one, on fresh noise (as the aggressive training of He et al. 2019,
    arXiv:1901.05534, whose k is as long as the bound improves).

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z.
        likelihood: p(x|z).
        objective: What both networks minimise.
        encoder_steps: Steps of the encoder for each of the decoder, which then alternate; 0 for joint steps.
        temperature: Factor on the standard deviations of the latents that samples come from.
        optimizer: Any class of torch.optim or lit_gen.optimizers.
        scheduler: Learning-rate schedule counted in updates.
        clip_norm: Largest gradient norm.
        accumulate: Parts in which a batch is taken, to save memory.
        ema_half_life: Half-life of the networks' weight averages in images; null for none. Samples, embeddings and
            validation use the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        num_classes: Classes of the data, 0 if they have none; on the command line it comes from the data module.
        conditional: Whether to model p(x | y): the networks take the labels too, as a third argument of their
            factories, ``num_classes``, and of their ``forward``.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.

    Raises:
        ValueError: for a negative number of steps, a temperature that is not positive, or labels that don't exist.
    """

    stochastic_layers: int = 1

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        likelihood: Likelihood,
        /,
        *,
        objective: VariationalObjective = ELBO(),
        encoder_steps: int = 0,
        temperature: float = 1.0,
        optimizer: OptimizerCallable = VAEAdam,
        scheduler: LRSchedulerCallable | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        num_classes: int = 0,
        conditional: bool = False,
        init_from: str | None = None,
    ) -> None:
        super().__init__(image_shape, latent_dim, num_classes, conditional, ema_half_life, ema_ramp_up)
        if encoder_steps < 0:
            raise ValueError(f"encoder_steps={encoder_steps}: steps of the encoder for one of the decoder, or 0: joint")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature}: a positive, finite factor on the scale of z")
        self.likelihood = likelihood
        likelihood.batch_mean = self.batch_mean
        self.objective, self.encoder_steps, self.temperature = objective, encoder_steps, temperature
        self._settings = (optimizer, scheduler, clip_norm, accumulate), init_from  # until the players are defined

    def define_networks(self, inference: tuple[str, ...], generative: tuple[str, ...]) -> None:
        """Name the networks of q and of p: one player, ``vae``, or two, ``encoder`` and ``decoder``, that alternate."""
        settings, init_from = self._settings
        del self._settings
        players = [Player("vae", inference + generative, *settings)]
        if self.encoder_steps > 0:
            players = [Player("encoder", inference, *settings), Player("decoder", generative, *settings)]
        learned = [name for name in (*inference, *generative) if list(self.get_submodule(name).parameters())]
        self.define(players, averaged=learned, init_from=init_from)

    def active(self, name: str) -> Any:
        """The network itself in training, else its average if one is kept."""
        return getattr(self, name) if self.training else self.network(name)

    def gathered(self, x: Tensor) -> Tensor:
        """The rows of all processes, the same everywhere. A collective."""
        return x if self.random.world_size == 1 else self.all_gather(x).flatten(0, 1)  # type: ignore[union-attr]

    @property
    def noise_dim(self) -> int:
        """Normal numbers that one sample of all latents takes."""
        return self.latent_dim

    @abstractmethod
    def terms(self, x: Tensor, noise: Tensor, *labels: Tensor, detach_posterior: bool = False) -> Terms:
        """The terms of the bound at K samples of the latents for each image.

        Args:
            x: What the likelihood models, ``(N, *image_shape)``.
            noise: N(0, 1), ``(N, K, noise_dim)``.
            *labels: ``(N,)`` if conditional.
            detach_posterior: See ``LayerTerms``.
        """

    @abstractmethod
    def posterior_mean(self, x: Tensor, *labels: Tensor) -> Tensor:
        """The mean of q(z|x), ``(N, latent_dim)``, of x ``(N, *image_shape)`` as the likelihood models it."""

    def observe(self, images: Tensor) -> Tensor:
        """What the likelihood models of images in [-1, 1], on the module's device.

        Where the likelihood binarises or dequantises at random, each random number is taken in its middle, 1/2.
        """
        images = images.to(self.device, self.dtype)
        return self.active("likelihood").observe(images, torch.full_like(images, 0.5))

    @torch.no_grad()
    def encode(self, images: Tensor, *labels: Tensor) -> Tensor:
        """Embed images as the mean of q(z|x), ``(N, latent_dim)``: never a sample, from averaged weights if any.

        A bounded number is embedded at once, with the likelihood's random numbers as :meth:`observe` takes them.

        Args:
            images: ``(N, *image_shape)`` in [-1, 1].
            *labels: ``(N,)`` if conditional.

        Raises:
            ValueError: for labels that an unconditional model has no use for, or none, or another number, for a
                conditional one.
        """
        if [len(y) for y in labels] != [len(images)] * self.conditional:
            given = [tuple(y.shape) for y in labels]
            raise ValueError(
                f"labels of shapes {given} for {len(images)} images: "
                + ("a conditional model needs one for each" if self.conditional else "the model is unconditional")
            )
        parts = zip(*(part.split(SAMPLE_BATCH) for part in (images, *labels)), strict=True)
        with self.evaluating():
            return torch.cat(
                [self.posterior_mean(self.observe(x), *(y.to(self.device) for y in ys)) for x, *ys in parts]
            )

    def draw(self, batch: Batch, samples: int) -> tuple[Tensor, ...]:
        """(x, noise, *labels) for ``terms``: what the likelihood models of the images, and fresh noise."""
        images, n = batch[0].to(self.dtype), len(batch[0])
        observation_noise = self.random.uniform(n, *self.image_shape).to(images.device)
        noise = self.random.normal(n, samples, self.noise_dim).to(images.device)
        return self.active("likelihood").observe(images, observation_noise), noise, *self.labels_of(batch)

    def loss(self, x: Tensor, noise: Tensor, *labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's loss of a batch, and values to log."""
        terms = self.terms(x, noise, *labels, detach_posterior=self.objective.detach_posterior)
        return self.objective(terms, self.updates["vae" if self.encoder_steps == 0 else "decoder"])

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One joint step, or a step of the inference network and in its turn one of the generative network."""
        samples = self.objective.samples
        if self.encoder_steps == 0:
            self.update("vae", self.loss, *self.draw(batch, samples))
            return
        self.update("encoder", self.loss, *self.draw(batch, samples))
        if self.turns("encoder") % self.encoder_steps == 0:
            self.update("decoder", self.loss, *self.draw(batch, samples))

    def on_train_start(self) -> None:
        """Refuse an objective that doesn't suit the model or the training's length.

        Not before: asked for its length, a trainer loads the data, which then doesn't go on from a checkpoint's place.
        """
        trainer = self.trainer
        batches = math.inf if trainer.fast_dev_run else trainer.estimated_stepping_batches  # type: ignore[attr-defined]
        self.objective.check(self.stochastic_layers, batches // max(1, self.encoder_steps))

    @torch.no_grad()
    def _log_bound(self, batch: Batch, stage: str) -> None:
        values = self.objective.bound(self.terms(*self.draw(batch, self.objective.samples)))
        if self.likelihood.log_bin_width is not None:
            values["bpd"] = self.likelihood.bits_per_dim(values["nelbo_nats"])
        named = {f"{stage}/{key}": value for key, value in values.items()}
        self.log_dict(named, prog_bar=True, batch_size=len(batch[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The bound on held-out images, in nats."""
        self._log_bound(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The bound on the test images, in nats."""
        self._log_bound(batch, "test")
