"""What all latent variable models with an inference network share: their options, the bound's terms, embeddings."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_gen.distributions import Likelihood, default_likelihood
from lit_gen.losses import ELBO, LayerTerms, Terms, VariationalObjective
from lit_gen.models.sampling import SAMPLE_BATCH, LatentVariableModel
from lit_gen.optimizers import OptimizerCallable, VAEAdam
from lit_gen.schedulers import LRSchedulerCallable
from lit_gen.training.player import Player

__all__ = ["LayerTerms", "LikelihoodFactory", "Terms", "VariationalModel"]

LikelihoodFactory = Callable[[tuple[int, ...]], Likelihood]


def made_likelihood(factory: LikelihoodFactory, image_shape: tuple[int, ...], bounded: bool) -> Likelihood:
    """p(x|z) for data of this shape; the default one depends on their bounds."""
    return default_likelihood(image_shape, bounded) if factory is default_likelihood else factory(image_shape)


class VariationalModel(LatentVariableModel, ABC):
    """A model p(x, z) of images x and latents z, and an inference network q(z|x), trained on a bound of log p(x).

    A subclass builds its networks, names them by :meth:`define_networks`, and gives :meth:`terms`,
    :meth:`posterior_mean` and ``decode``.

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
        bounded: Whether the data lie in [-1, 1], as images do and latents don't, of which the likelihood is then told;
            on the command line it comes from the data module.
        conditional: Whether to model p(x | y): the networks take the labels too, as a third argument of their
            factories, ``num_classes``, and of their ``forward``.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.

    Raises:
        ValueError: for a negative number of steps, a temperature that is not positive, labels that don't exist, or a
            likelihood of pixels for data without bounds.
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
        bounded: bool = True,
        init_from: str | None = None,
    ) -> None:
        super().__init__(image_shape, latent_dim, num_classes, conditional, ema_half_life, ema_ramp_up, bounded)
        if encoder_steps < 0:
            raise ValueError(f"encoder_steps={encoder_steps}: steps of the encoder for one of the decoder, or 0: joint")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature}: a positive, finite factor on the scale of z")
        self.likelihood = likelihood
        if self.range:
            likelihood.unbind()
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
        """The rows of all processes that train the model together; here those of the one there is."""
        return x

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
        images = self.as_input(images)
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
