"""The training of autoencoders of maps: what all of them measure on held-out images."""

import torch
from torch import Tensor

from lit_gen.models.autoencoding import AutoencodingModel
from lit_gen.modules.base import Batch, GenerativeModule
from lit_gen.training.player import Player


class AutoencodingModule(AutoencodingModel, GenerativeModule):
    """The training of a :class:`lit_gen.models.AutoencodingModel`; a subclass gives the losses."""

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """Let the bottleneck take means over whole batches, and name players and networks as all modules do."""
        self.bottleneck.batch_mean = self.batch_mean
        super().define(players, averaged, init_from)

    def held_out_values(self, batch: Batch) -> dict[str, Tensor]:
        """What validation logs of a batch, means over its images by name."""
        raise NotImplementedError

    @torch.no_grad()
    def _log_held_out(self, batch: Batch, stage: str) -> None:
        named = {f"{stage}/{name}": value for name, value in self.held_out_values(batch).items()}
        self.log_dict(named, prog_bar=True, batch_size=len(batch[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Losses on held-out images; callbacks score the reconstructions."""
        self._log_held_out(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Losses on the test images."""
        self._log_held_out(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The batch's reconstructions."""
        return self.reconstruct(batch[0])
