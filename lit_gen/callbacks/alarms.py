"""What callbacks that raise alarms have in common: when one begins, that it is said once, and what is kept of it."""

import csv
import io
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.files import whole_file
from lit_gen.tracking.runs import ALARMS

Subject = TypeVar("Subject", int, str)  # what is watched


class AlarmCallback(L.Callback, Generic[Subject]):
    """Says in one sentence that something it watches is beyond its threshold, when that begins and not while it lasts.

    A fit that has a logger also writes all alarms to ``alarms/<class>.csv`` under its log directory, as
    ``step,subject,sentence``.

    Attributes:
        alarms: (step, what is watched, sentence) of all alarms so far.
    """

    _warning: type[UserWarning]  # the alarms' category
    _counts = "beyond"  # the measurements' name in checkpoints

    def __init__(self) -> None:
        self.alarms: list[tuple[int, Subject, str]] = []
        self._beyond: dict[Subject, int] = {}  # measurements in a row beyond the threshold
        self._file: Path | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Learn where the alarms are kept; those beyond the checkpoint that a run goes on from are taken back."""
        directory = trainer.log_dir  # a collective
        written = trainer.loggers and trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self._file = Path(directory) / ALARMS / f"{type(self).__name__}.csv" if directory and written else None
        if self._file is not None and (self.alarms or self._file.exists()):
            self._write(self._file)

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
        if self._file is not None:
            self._write(self._file)
        rank_zero_warn(sentence, category=self._warning)

    def _write(self, path: Path) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("step", "subject", "sentence"), *self.alarms])
        with whole_file(path) as file:
            file.write(text.getvalue().encode())
