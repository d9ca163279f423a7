"""What callbacks that raise alarms have in common: when one begins, that it is said once, and what checkpoints keep."""

from typing import Any, Generic, TypeVar

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn

Subject = TypeVar("Subject", int, str)  # what is watched


class AlarmCallback(L.Callback, Generic[Subject]):
    """Says in one sentence that something it watches is beyond its threshold, when that begins and not while it lasts.

    Attributes:
        alarms: (step, what is watched, sentence) of all alarms so far.
    """

    _warning: type[UserWarning]  # the alarms' category
    _counts = "beyond"  # the measurements' name in checkpoints

    def __init__(self) -> None:
        self.alarms: list[tuple[int, Subject, str]] = []
        self._beyond: dict[Subject, int] = {}  # measurements in a row beyond the threshold

    def state_dict(self) -> dict[str, Any]:
        """The alarms, and how long everything watched has been beyond its threshold."""
        return {"alarms": list(self.alarms), self._counts: dict(self._beyond)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on watching, and repeat no alarm that lasts."""
        self.alarms, self._beyond = list(state_dict["alarms"]), dict(state_dict[self._counts])

    def _begins(self, subject: Subject, beyond: bool, patience: int) -> bool:
        """Count a measurement. True for the one with which ``patience`` in a row are beyond the threshold."""
        self._beyond[subject] = self._beyond.get(subject, 0) + 1 if beyond else 0
        return self._beyond[subject] == patience

    def _say(self, step: int, subject: Subject, sentence: str) -> None:
        """Keep an alarm and warn."""
        self.alarms.append((step, subject, sentence))
        rank_zero_warn(sentence, category=self._warning)
