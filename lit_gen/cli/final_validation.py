"""A run that would end before its first validation has one at its end."""

import math

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.callbacks.progress import batches_of_run


class FinalValidation(L.Callback):
    """Validates after the last batch where the interval, counted in batches over the whole run, is longer than the run.

    ``limit_val_batches=0`` switches that off, as all validation.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shorten the interval, and say so."""
        last, interval = batches_of_run(trainer), trainer.val_check_batch
        if trainer.check_val_every_n_epoch is not None or not trainer.enable_validation or interval is None:
            return
        if last < interval < math.inf and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            rank_zero_info(
                f"The run ends after {last:.0f} batches, before trainer.val_check_interval={interval:.0f}, and is "
                "evaluated at its end."
            )
            trainer.val_check_batch = int(last)
