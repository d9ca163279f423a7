"""The training of priors of codes."""

import torch
from torch import Tensor

from lit_gen import models
from lit_gen.modules.base import Batch
from lit_gen.modules.sampling import LatentVariableModel


class CodePrior(LatentVariableModel, models.CodePrior):
    """The training of :class:`lit_gen.models.CodePrior`, whose arguments it takes.

    Logs ``nats_per_code``, ``bits_per_code`` and ``bits_per_pixel`` of training, validation and test images' codes.
    """

    def setup(self, stage: str) -> None:
        """Refuse data of more codes than there are to choose from."""
        super().setup(stage)
        held = getattr(getattr(self.trainer, "datamodule", None), "num_codes", 0)
        if held > self.num_codes:
            raise ValueError(f"num_codes={self.num_codes}: the data have {held} codes")

    def loss(self, indices: Tensor, *labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of −log p over the codes and images of a batch, in nats."""
        nats = self.code_nats(indices, *labels).mean()
        return nats, {"prior_loss": nats, **self.measures(nats)}

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step."""
        self.update("prior", self.loss, self.as_input(batch[0]), *self.labels_of(batch))

    def updates_in(self, steps: int) -> dict[str, int]:
        """One a step."""
        return {"prior": steps}

    @torch.no_grad()
    def _log_held_out(self, batch: Batch, stage: str) -> None:
        nats = self.code_nats(self.as_input(batch[0]), *self.labels_of(batch)).mean()
        named = {f"{stage}/{name}": value for name, value in self.measures(nats).items()}
        self.log_dict(named, prog_bar=True, batch_size=len(batch[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The likelihood of held-out images' codes."""
        self._log_held_out(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The likelihood of the test images' codes."""
        self._log_held_out(batch, "test")
