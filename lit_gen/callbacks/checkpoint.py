"""Checkpoints that are whole or absent, and resumable from any batch."""

import math
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, LambdaCallback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.files import whole_file
from lit_gen.pretrained.resume import LAST, PREVIOUS

# Beginnings of names that the first validation may add to those known before training.
LATER = ("train/", "skipped/", "game/", "latents/", "evaluate/")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk and renames: a reader never sees half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``; the ``last.ckpt`` that it replaces stays as ``previous.ckpt``.

        Raises:
            OSError: if it can't be written, as on a full disk; the file at ``path`` is then as it was.
        """
        path = Path(path)
        try:
            with whole_file(path, path.with_name(PREVIOUS) if path.name == LAST else None) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
            cause = error if isinstance(error, OSError) else error.__context__ or error
            reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
            held = f"; the checkpoint before it, {path}, is whole" if path.exists() else ""
            raise OSError(f"{path}: this checkpoint can't be written: {reason}{held}") from error


class RunCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` at a steady pace and at the end, and ``best.ckpt`` by a score.

    Saving happens at the end of a batch, the only place from which a resumed run repeats and skips nothing.
    So does stopping: the first Ctrl-C or SIGTERM finishes the batch and saves, a second one stops at once. The exit
    status is the conventional one, 130 or 143.

    Args:
        every_n_steps: Training batches between two ``last.ckpt``.
        monitor: Name of a logged score, e.g. ``val/fd_digits_1000``; null for no ``best.ckpt``. A mistaken one is
            refused before training where all names can be known, for which a batch is validated; else afterwards.
        mode: Whether the best score is the smallest or the largest.
    """

    def __init__(
        self, every_n_steps: int = 500, monitor: str | None = None, mode: Literal["min", "max"] = "min"
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: at least 1 batch between two checkpoints")
        self.every_n_steps, self.monitor, self.mode = every_n_steps, monitor, mode
        self.best_score = math.inf if mode == "min" else -math.inf
        self._early = False  # whether the monitor is judged before training
        self._seen: set[str] | None = None  # names that the module has logged by then
        self._received: int | None = None
        self._usual: dict[int, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have a batch validated before training, which shows the module's names, where no callback is unknown."""
        known = all(map(_known, trainer.callbacks)) and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self._early, self._seen = stage == "fit" and self.monitor is not None and known, None
        if self._early:
            trainer.num_sanity_val_steps = trainer.num_sanity_val_steps or 1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a monitor that nothing will log; take over Ctrl-C and SIGTERM."""
        parts = trainer.callbacks  # type: ignore[attr-defined]
        scored: list[Any] = [getattr(part, "logged", set()) for part in parts]
        if self._seen is not None and None not in scored and not str(self.monitor).startswith(LATER):
            self._check(self._seen.union(getattr(pl_module, "counters", ()), *scored))
        self._received = signal.SIGTERM if trainer.received_sigterm else None
        if threading.current_thread() is not threading.main_thread():
            return
        # Lightning's own handler of SIGTERM would stop without saving.
        self._usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def finish_the_batch(number: int, _: Any) -> None:
            self._received = number
            signal.signal(number, self._usual[number] if number == signal.SIGINT else signal.SIG_DFL)
            name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
            rank_zero_info(f"{name}: finishing the batch and saving; once more to stop at once.")

        for number in self._usual:
            signal.signal(number, finish_the_batch)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save ``last.ckpt`` when it is due, or the run ends with this batch."""
        epochs = trainer.max_epochs
        last_epoch = epochs is not None and epochs >= 0 and trainer.current_epoch + 1 >= epochs
        ends = trainer.global_step == trainer.max_steps or (last_epoch and trainer.is_last_batch)
        stops = self._anywhere(trainer, self._received is not None)
        if ends or stops or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, LAST)
        if stops and self._anywhere(trainer, self._received == signal.SIGINT):
            raise KeyboardInterrupt
        if stops:
            raise SystemExit(128 + signal.SIGTERM)

    def _check(self, names: Iterable[str]) -> None:
        if self.monitor not in set(names):
            known = ", ".join(sorted(name for name in names if "/" in name)) or "none yet"
            raise ValueError(f"checkpoint.monitor={self.monitor}: no such score is logged (logged: {known})")

    @staticmethod
    def _anywhere(trainer: L.Trainer, decision: bool) -> bool:
        """Whether it is so in any process: all of them stop after the same batch."""
        if trainer.world_size > 1:
            return trainer.strategy.reduce_boolean_decision(decision, all=False)
        return decision

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save ``best.ckpt`` when the score has improved."""
        if trainer.sanity_checking and self._early:
            self._seen = set(trainer.callback_metrics)
        if self.monitor is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # fewer samples, so other names
            return
        self._check(trainer.callback_metrics)
        score = float(trainer.callback_metrics[self.monitor])
        if score < self.best_score if self.mode == "min" else score > self.best_score:
            self.best_score = score
            self._save(trainer, "best.ckpt")

    def _save(self, trainer: L.Trainer, name: str) -> None:
        if trainer.log_dir is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(trainer.log_dir) / "checkpoints" / name, weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score."""
        self.best_score = state_dict["best_score"]


def _known(callback: L.Callback) -> bool:
    """Whether it says in ``logged`` what scores it logs (None: not yet), or logs none, as others of these packages."""
    if isinstance(callback, LambdaCallback):
        return False
    return hasattr(callback, "logged") or type(callback).__module__.startswith(("lit_gen.", "lightning."))
