"""One progress bar over the whole run, with the losses and the last scores."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

REFRESH_SECONDS = 0.2
LINES_PER_RUN = 20
LINE_SECONDS = 30.0  # at the latest, where a line's share of the run takes longer


class _ProgressWithValues(Progress):
    """The bar, and under it a line or two of values, which a narrow terminal wraps."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["values"], style="dim")


class RunProgress(ProgressBar):
    """A rich bar in a terminal; in a file or pipe, about twenty plain lines a run, and one every half minute.

    A line has the losses; scores stand in the first line after their validation, and in the last one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = Console()
        self._progress: Progress | None = None
        self._enabled = True
        self._started = self._refreshed = 0.0
        self._told: dict[str, Any] = {}  # the scores that a line has shown
        self._first_step = 0

    def disable(self) -> None:
        """Show nothing (on every process but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Show the progress again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the bar where the run starts, which after a resume isn't zero."""
        self._started = self._refreshed = time.monotonic()
        self._first_step, self._told = trainer.global_step, {}
        self._begin("fit", self._total(trainer), trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance, at most five times a second."""
        step, total = trainer.global_step, self._total(trainer)
        now = time.monotonic()
        if self._progress is not None and (now - self._refreshed > REFRESH_SECONDS or step == total):
            self._refreshed = now
            self._progress.update(self._progress.task_ids[0], completed=step, values=self._values(trainer, pl_module))
        elif self._progress is None and self._enabled and self._due(step, total, now):
            self._refreshed = now
            speed = (step - self._first_step) / max(now - self._started, 1e-9)
            values = self._values(trainer, pl_module, only_new=True)
            print(f"{_place(step, total, now - self._started)}  {speed:.1f} steps/s  {values}".rstrip(), flush=True)

    def _due(self, step: int, total: int, now: float) -> bool:
        """Whether it is time for a line: by the run's length, where it is known, or by the clock."""
        by_steps = total > 0 and (step == total or step % max(1, total // LINES_PER_RUN) == 0)
        return by_steps or now - self._refreshed >= LINE_SECONDS

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show new scores."""
        if self._progress is not None and self._progress.tasks:
            self._progress.update(self._progress.task_ids[0], values=self._values(trainer, pl_module))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the last state on the screen."""
        if self._progress is None and self._enabled:
            count, every = trainer.global_step - self._first_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
            none = f"{count} step{'s' * (count != 1)} of this session, and values are logged every {every}"
            print(f"done: step {trainer.global_step}  {self._values(trainer, pl_module) or none}", flush=True)
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._end()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the bar of a prediction."""
        self._begin("predict", int(sum(trainer.num_predict_batches)), 0)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Advance by a batch."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=batch_idx + 1)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._end()

    @contextmanager
    def part(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of its own for work between two steps, such as scoring; what it gives is told each advance."""
        alone = self._progress is None
        if alone:
            self._begin(name, total, 0)
        if self._progress is None:  # no terminal
            yield lambda amount: None
            return
        progress = self._progress
        task = progress.task_ids[0] if alone else progress.add_task(name, total=total, values="")
        try:
            yield lambda amount: progress.advance(task, amount)
        finally:
            progress.refresh()
            progress.remove_task(task)
            if alone:
                self._end()

    def _begin(self, name: str, total: int, completed: int) -> None:
        if not (self._enabled and self._console.is_terminal):
            return
        self._progress = _ProgressWithValues(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            refresh_per_second=1 / REFRESH_SECONDS,
        )
        self._progress.add_task(name, total=total, completed=completed, values="")
        self._progress.start()

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _values(self, trainer: L.Trainer, pl_module: L.LightningModule, only_new: bool = False) -> str:
        metrics = self.get_metrics(trainer, pl_module)
        shown = {k.removeprefix("train/"): v for k, v in metrics.items() if k != "v_num"}
        if only_new:
            scores = {k: v for k, v in shown.items() if k.startswith("val/")}
            shown = {k: v for k, v in shown.items() if k not in scores or self._told.get(k) != v}
            self._told = scores
        return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())

    @staticmethod
    def _total(trainer: L.Trainer) -> int:
        """Batches of the whole run; 0 where only the clock ends it."""
        total = batches_of_run(trainer)
        return int(total) if total < math.inf else 0


def batches_of_run(trainer: L.Trainer) -> float:
    """Batches of a whole fit, by its steps and epochs; infinity where only the clock ends it."""
    epochs = trainer.max_epochs
    by_epochs = trainer.num_training_batches * epochs if epochs is not None and epochs >= 0 else math.inf
    return min(by_epochs, trainer.max_steps if trainer.max_steps >= 0 else math.inf)


def _place(step: int, total: int, seconds: float) -> str:
    if total > 0:
        return f"step {step}/{total}"
    return f"step {step} after {int(seconds) // 60}:{int(seconds) % 60:02d} min"
