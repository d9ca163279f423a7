"""One trial of a sweep: a training in a process of its own, which tells its scores and is told when to end."""

import math
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import lightning.pytorch as L

from lit_gen.callbacks import RunCheckpoint
from lit_gen.callbacks.monitors import find_score
from lit_gen.cli.app import CLI, main


class TellScores(L.Callback):
    """Tells the monitored score after each evaluation, and ends the training if the answer says so.

    Args:
        connection: To the sweep's process.

    Raises:
        ValueError: in training, for a score that is no number: there is nothing to compare the trial by.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before the checkpoint's callback, which saves what this one ends."""
        kept = next((part for part in trainer.checkpoint_callbacks if isinstance(part, RunCheckpoint)), None)
        if trainer.sanity_checking or kept is None or kept.monitor is None:
            return
        name = find_score(kept.monitor, trainer.callback_metrics)
        score = float(trainer.callback_metrics[name])
        if not math.isfinite(score):
            raise ValueError(f"{name} is {score} at step {trainer.global_step}: the trial can't be compared by it")
        try:
            self.connection.send(("score", trainer.global_step, score, name))
            answer = self.connection.recv()
        except (OSError, EOFError):
            raise ValueError("the sweep of this trial has ended before it") from None
        if answer == "end":
            trainer.should_stop = True


def trial_cli(connection: Connection) -> type[CLI]:
    """The command line of a run that tells its folder, then its scores."""

    class Trial(CLI):
        """A run of a sweep."""

        def further_callbacks(self) -> list[Any]:
            connection.send(("folder", str(self.folder.path)))
            return [TellScores(connection)]

    return Trial


def run_trial(connection: Connection, arguments: Sequence[str], output: str) -> None:
    """Train in this process, which ends as that of ``lit-gen fit`` does, and print to a file.

    Args:
        connection: To the sweep's process.
        arguments: Of ``lit-gen``.
        output: The file.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    main(arguments, trial_cli(connection))
