"""The run's policy for losses and gradients that are not finite."""

import lightning.pytorch as L

from lit_gen.modules.base import GenerativeModule
from lit_gen.training.faults import Policy


class FaultPolicy(L.Callback):
    """What becomes of an update whose loss or gradient is not finite on any process.

    Args:
        policy: "raise" ends the run and says which player's which term it was, at which step, on which process, and
            which inputs or weights were not finite before. "skip" leaves the update out, on all processes alike, and
            logs how many as ``skipped/<player>``; on a GPU it waits for the device at every update.
        limit: Updates of one player in a row that may be left out until the run ends all the same, those that the
            gradient scaler of 16-mixed leaves out included.

    Raises:
        ValueError: for another policy, or a negative limit.
    """

    def __init__(self, policy: Policy = "raise", limit: int = 50) -> None:
        if policy not in ("raise", "skip"):
            raise ValueError(f"policy={policy!r}: 'raise' or 'skip'")
        if limit < 0:
            raise ValueError(f"limit={limit}: a number of updates can't be negative")
        self.policy, self.limit = policy, limit

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Tell the module."""
        if isinstance(pl_module, GenerativeModule):
            pl_module.faults.policy, pl_module.faults.limit = self.policy, self.limit
