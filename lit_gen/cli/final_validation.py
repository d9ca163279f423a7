"""A run's last weights are evaluated, wherever its length falls between two validations."""

import math
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.callbacks.progress import batches_of_run


class FinalValidation(L.Callback):
    """Validates after the last batch where the interval is counted in batches over the whole run and doesn't meet it.

    ``limit_val_batches=0`` switches that off, as all validation. Of a run that the clock ends no batch is known to be
    the last.
    """

    def __init__(self) -> None:
        self._last = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the last batch, and say so."""
        last, interval = batches_of_run(trainer), trainer.val_check_batch
        self._last = -1
        if trainer.check_val_every_n_epoch is not None or not trainer.enable_validation or interval is None:
            return
        if trainer.fast_dev_run or math.inf in (last, interval) or last % interval == 0:  # type: ignore[attr-defined]
            return
        self._last = int(last)
        if last < interval:
            rank_zero_info(
                f"The run ends after {last:.0f} batches, before trainer.val_check_interval={interval:.0f}, and is "
                "evaluated at its end."
            )
        else:
            rank_zero_info(
                f"The run's {last:.0f} batches are no multiple of trainer.val_check_interval={interval:.0f}: it is "
                "evaluated at its end, too."
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Let the interval meet the last batch."""
        if trainer.global_step == self._last:
            trainer.val_check_batch = self._last
