"""The training of all latent variable models with an inference network: the step, the bound, checks."""

import math
from abc import ABC

import torch
from torch import Tensor

from lit_gen.losses import LayerTerms, Terms
from lit_gen.models.variational import LikelihoodFactory, VariationalModel
from lit_gen.modules.base import Batch
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.training.player import Player

__all__ = ["LayerTerms", "LikelihoodFactory", "Terms", "VariationalModule"]


class VariationalModule(LatentVariableModel, VariationalModel, ABC):
    """The training of a :class:`lit_gen.models.VariationalModel`, whose arguments it takes, on a bound of log p(x).

    With ``encoder_steps`` = 0 both networks take one joint step. With k ≥ 1 they alternate, as in variational EM: each
    training batch is a step of the inference network, every k of them are followed by a step of the generative one, on
    fresh noise (as the aggressive training of He et al. 2019, arXiv:1901.05534, whose k is as long as the bound
    improves).
    """

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """Let the likelihood take means over whole batches, and name players and networks as all modules do."""
        self.likelihood.batch_mean = self.batch_mean
        super().define(players, averaged, init_from)

    def gathered(self, x: Tensor) -> Tensor:
        """The rows of all processes, the same everywhere. A collective."""
        return x if self.random.world_size == 1 else self.all_gather(x).flatten(0, 1)  # type: ignore[union-attr]

    def draw(self, batch: Batch, samples: int) -> tuple[Tensor, ...]:
        """(x, noise, *labels) for ``terms``: what the likelihood models of the images, and fresh noise."""
        images, n, likelihood = self.as_input(batch[0]), len(batch[0]), self.active("likelihood")
        if likelihood.needs_noise:
            observation_noise = self.random.uniform(n, *self.image_shape).to(images.device)
        else:  # millions of numbers that nobody reads
            observation_noise = images.new_full((), 0.5).expand_as(images)
            self.random.pass_over()
        noise = self.random.normal(n, samples, self.noise_dim).to(images.device)
        return likelihood.observe(images, observation_noise), noise, *self.labels_of(batch)

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

    def updates_in(self, steps: int) -> dict[str, int]:
        """One joint update a step, or one of the decoder after every ``encoder_steps`` of the encoder."""
        if self.encoder_steps == 0:
            return {"vae": steps}
        return {"encoder": steps, "decoder": steps // self.encoder_steps}

    def on_train_start(self) -> None:
        """Refuse an objective that doesn't suit the model or the training's length.

        Not before: asked for its length, a trainer loads the data, which then doesn't go on from a checkpoint's place.
        """
        super().on_train_start()
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
