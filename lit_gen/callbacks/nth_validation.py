"""Callbacks that act at every n-th validation of a fit."""

from typing import Any

import lightning.pytorch as L


class NthValidationCallback(L.Callback):
    """Counts the validations of a fit, also over checkpoints.

    Args:
        every_n_epochs: n.
    """

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs
        self._validations = 0

    def state_dict(self) -> dict[str, Any]:
        """The count behind ``every_n_epochs``."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._validations = state_dict["validations"]

    def _is_due(self, trainer: L.Trainer) -> bool:
        """Count a validation of a fit. True for every n-th of them, and for all outside a fit."""
        if trainer.state.fn != "fit":
            return True
        self._validations += 1
        return self._validations % self.every_n_epochs == 0
