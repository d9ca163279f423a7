"""One trial of a sweep: a training in a process of its own, which tells its scores and is told when to end."""

import math
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from lit_gen.callbacks import RunCheckpoint
from lit_gen.callbacks.checkpoint import find_score
from lit_gen.cli.app import CLI, main


class TellScores(L.Callback):
    """Tells the monitored score after each evaluation, and ends the training if the answer says so.

    Args:
        connection: To the sweep's process.

    Raises:
        ValueError: for a score that is no number: there is nothing to compare the trial by.
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
        self.connection.send(("score", trainer.global_step, score, name))
        if self.connection.recv() == "end":
            trainer.should_stop = True


def run_trial(connection: Connection, arguments: Sequence[str], output: str) -> None:
    """Train in this process, told to a file; the run's folder and its scores go to the sweep's process.

    Args:
        connection: To the sweep's process.
        arguments: Of ``lit-gen``.
        output: A file for what the training prints.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    class Trial(CLI):
        """A run that tells its folder and scores."""

        def further_callbacks(self) -> list[Any]:
            connection.send(("folder", str(self.folder.path)))
            return [TellScores(connection)]

    main(arguments, Trial)


def last_error(output: str | Path) -> str:
    """What a training that failed has said last, in one line."""
    try:
        lines = Path(output).read_text(errors="replace").splitlines()
    except OSError:
        return "nothing is known of it"
    told = [line for line in lines if line.strip()]
    errors = [line for line in told if line.startswith("lit-gen: error:")]
    last = [*told[-1:], *errors[-1:]]
    return last[-1].removeprefix("lit-gen: error: ").strip() if last else "it has said nothing"
