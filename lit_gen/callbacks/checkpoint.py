"""When a run is saved: checkpoints that are resumable from any batch."""

import math
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, LambdaCallback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.callbacks.checkpoint_io import AtomicCheckpointIO
from lit_gen.callbacks.monitors import LATER, find_score, monitoring, resolve_monitors, take_names_of
from lit_gen.metrics.scores import SCORES
from lit_gen.networks import has_batch_norm
from lit_gen.pretrained.resume import LAST
from lit_gen.training.processes import is_lost


class RunCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` at a steady pace and at every end, and ``best.ckpt`` by a score.

    Saving happens at the end of a batch, the only place from which a resumed run repeats and skips nothing.
    So does stopping: the first Ctrl-C or SIGTERM finishes the batch and saves, a second one stops at once. The exit
    status is the conventional one, 130 or 143. ``max_time`` and early stopping save like ``max_steps``. An error
    saves what has been trained, if it is finite; after one in the middle of a batch the run goes on with that batch,
    some of whose updates have been made. Where another process is gone it saves what whole batches have made, or
    leaves what was saved before.

    Args:
        every_n_steps: Training batches between two ``last.ckpt``.
        monitor: A kind of score, such as ``fd``, whose name for this run's data and number of samples is then found
            (none where samples are not scored), or the whole name of a logged score, e.g. ``val/fd_digits_1000``; null
            for no ``best.ckpt``. A mistaken one is refused before training where all names can be known, for which a
            batch is validated; else afterwards. So is the monitor of an ``EarlyStopping`` or ``ModelCheckpoint``.
        mode: Whether the best score is the smallest or the largest.
        background_gb: Gigabytes (10⁹ bytes) from which a checkpoint is written while the training goes on, from a copy
            in the CPU's memory; null writes all at once. Needs the plugin :class:`AtomicCheckpointIO`, as runs have.
    """

    def __init__(
        self,
        every_n_steps: int = 500,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        background_gb: float | None = 1.0,
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: at least 1 batch between two checkpoints")
        if background_gb is not None and background_gb < 0:
            raise ValueError(f"background_gb={background_gb}: gigabytes, or null to write every checkpoint at once")
        self.every_n_steps, self.monitor, self.mode = every_n_steps, monitor, mode
        self.background_gb = background_gb
        self.best_score = math.inf if mode == "min" else -math.inf
        self._early = False  # whether the monitor is judged before training
        self._seen: set[str] | None = None  # names that the module has logged by then
        self._received: int | None = None
        self._stop: BaseException | None = None
        self._usual: dict[int, Any] = {}
        self._first = self._saved = 0  # steps where this fit began and of what was saved last
        self._made: dict[str, int] | None = None  # updates before the batch at work; None between batches
        self._folder: Path | None = None  # found in time, as that is a collective
        self._late = False  # whether what is being saved is saved after a batch's end

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have a batch validated before training, which shows the module's names, where no callback is unknown."""
        if isinstance(plugin := trainer.strategy.checkpoint_io, AtomicCheckpointIO):
            plugin.background_gb = self.background_gb
        parts = trainer.callbacks  # type: ignore[attr-defined]
        known = all(map(_known, parts)) and not trainer.fast_dev_run  # type: ignore[attr-defined]
        judged = self.monitor is not None or bool(monitoring(parts))
        self._early, self._seen = stage == "fit" and judged and known, None
        if self._early:
            trainer.num_sanity_val_steps = trainer.num_sanity_val_steps or 1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a monitor that nothing will log; take over Ctrl-C and SIGTERM."""
        self._first = self._saved = trainer.global_step
        run, fast = trainer.log_dir, trainer.fast_dev_run  # type: ignore[attr-defined]
        self._folder = None if run is None or fast else Path(run) / "checkpoints"
        parts = trainer.callbacks  # type: ignore[attr-defined]
        scored: list[Any] = [getattr(part, "logged", set()) for part in parts]
        self._drop_without_scores(scored)
        if self._seen is not None and None not in scored:
            names = self._seen.union(getattr(pl_module, "counters", ()), *scored)
            if self.monitor is not None and not self.monitor.startswith(LATER):
                find_score(self.monitor, names)
            resolve_monitors(parts, names)
        self._stop = None
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

    def _drop_without_scores(self, scored: list[Any]) -> None:
        """Keep no best checkpoint by a kind of score where samples are not scored, as where no extractor is shipped."""
        known = None not in scored and not any(name.startswith("val/") for names in scored for name in names)
        if self.monitor in SCORES and known:
            rank_zero_info(f"checkpoint.monitor={self.monitor}: samples are not scored, so there is no best.ckpt.")
            self.monitor = None

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save ``last.ckpt`` when it is due, or the run ends with this batch."""
        self._made = None
        epochs = trainer.max_epochs
        last_epoch = epochs is not None and epochs >= 0 and trainer.current_epoch + 1 >= epochs
        ends = trainer.global_step == trainer.max_steps or (last_epoch and trainer.is_last_batch)
        stops = self._anywhere(trainer, self._received is not None)
        if ends or stops or trainer.should_stop or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, LAST)
        if stops:
            interrupted = self._anywhere(trainer, self._received == signal.SIGINT)
            self._stop = KeyboardInterrupt() if interrupted else SystemExit(128 + signal.SIGTERM)

    def _stop_if_asked(self) -> None:
        """Stop at the first hook after a batch whose losses have been logged by then."""
        if self._stop is not None:
            raise self._stop

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop by a signal; note the updates made so far, which matter where another process may be gone."""
        self._stop_if_asked()
        self._made = _updates(pl_module) if trainer.world_size > 1 else None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop by a signal, before the validation that was due."""
        self._stop_if_asked()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop by a signal; save if the epoch's end has ended the run, as an early stopping by its mean loss does."""
        self._stop_if_asked()
        self._save_if_stopped(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop by a signal during the last batch."""
        self._stop_if_asked()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save what has been trained when an error ends the run; nothing that happens here hides the error."""
        asked = isinstance(exception, (KeyboardInterrupt, SystemExit))  # saved already, or to stop at once
        if asked or not trainer.is_global_zero or trainer.state.fn != TrainerFn.FITTING:
            return
        if is_lost(exception) and not self._of_whole_batches(pl_module):
            return  # another process is gone, at any moment; what was saved before is whole
        if trainer.global_step > max(self._first, self._saved) and _finite(pl_module):
            with suppress(Exception):
                self._save(trainer, LAST, late=True, alone=True)

    def _of_whole_batches(self, module: L.LightningModule) -> bool:
        """Whether nothing of a batch that wasn't finished is in the model: a resumed run repeats all of it."""
        return self._made is None or (self._made == _updates(module) and not has_batch_norm(module))

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Find the states of callbacks that name a kind of score."""
        take_names_of(checkpoint, trainer.callbacks)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make one that is saved after a batch's end look as if it had been saved there."""
        if self._late:
            _go_back_to_the_batch(checkpoint["loops"]["fit_loop"], int(trainer.num_training_batches))

    @staticmethod
    def _anywhere(trainer: L.Trainer, decision: bool) -> bool:
        """Whether it is so in any process: all of them stop after the same batch."""
        if trainer.world_size > 1:
            return trainer.strategy.reduce_boolean_decision(decision, all=False)
        return decision

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save ``best.ckpt`` when the score has improved, ``last.ckpt`` if this validation has ended the run."""
        if trainer.sanity_checking and self._early:
            self._seen = set(trainer.callback_metrics)
        fast: bool = trainer.fast_dev_run  # type: ignore[attr-defined]  # fewer samples, so other names
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or fast:
            return
        if self.monitor is not None:
            name = find_score(self.monitor, trainer.callback_metrics)
            score = float(trainer.callback_metrics[name])
            if score < self.best_score if self.mode == "min" else score > self.best_score:
                self.best_score = score
                self._save(trainer, "best.ckpt", late=True)
        self._save_if_stopped(trainer)

    def _save_if_stopped(self, trainer: L.Trainer) -> None:
        if trainer.should_stop and trainer.global_step > self._saved:
            self._save(trainer, LAST, late=True)

    def _save(self, trainer: L.Trainer, name: str, late: bool = False, alone: bool = False) -> None:
        """Save a checkpoint, a collective unless this process is alone, the others being gone."""
        self._late = late
        try:
            if self._folder is None:
                return
            path = self._folder / name
            if alone:
                trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(False), path)
            else:
                trainer.save_checkpoint(path, weights_only=False)
        finally:
            self._late = False
        self._saved = trainer.global_step if name == LAST else self._saved

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score."""
        self.best_score = state_dict["best_score"]


def _go_back_to_the_batch(loop: dict[str, Any], batches_of_epoch: int) -> None:
    """Change the state of the training loop to what it was at the end of the last batch that was processed.

    From there alone the framework goes on without a repetition or a gap: at a validation's or an epoch's end it takes
    the epoch for finished or goes through the validation again, and a batch that was fetched in vain is left out.
    """
    batches = loop["epoch_loop.batch_progress"]
    done = batches["current"]["processed"]
    for loader in loop["state_dict"].get("combined_loader", []):
        if "batch" in loader:
            loader["batch"] = done
    if done == 0:  # the first batch of an epoch, which has begun
        return
    for count in (batches["total"], batches["current"]):
        count.update(ready=count["processed"], started=count["processed"], completed=count["processed"] - 1)
    batches["is_last_batch"] = done >= batches_of_epoch
    for count in (loop["epoch_progress"]["total"], loop["epoch_progress"]["current"]):
        count.update(processed=count["started"] - 1, completed=count["started"] - 1)
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = batches["total"]["processed"] - 1


def _finite(module: L.LightningModule) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def _updates(module: L.LightningModule) -> dict[str, int]:
    """Those made of each player, and left out; empty of a module that doesn't count them."""
    faults: Any = getattr(module, "faults", None)
    return {**getattr(module, "updates", {}), **{f"{k} left out": v for k, v in getattr(faults, "skipped", {}).items()}}


def _known(callback: L.Callback) -> bool:
    """Whether it says in ``logged`` what scores it logs (None: not yet), or logs none, as others of these packages."""
    if isinstance(callback, LambdaCallback):
        return False
    return hasattr(callback, "logged") or type(callback).__module__.startswith(("lit_gen.", "lightning."))
