"""The framework's hooks around a step, of which a small model's run has more than operations, at the least cost."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.profilers import PassThroughProfiler

# Of each training batch; all that a trainer asks every callback for between two batches.
OF_A_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
_NOTHING = nullcontext()


class Unmeasured(PassThroughProfiler):
    """Lightning's profiler that measures nothing, and makes no generator for each hook of each callback."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """A context that does nothing."""
        return _NOTHING


def leave_out_idle(trainer: L.Trainer) -> None:
    """Let the trainer call no hook of a step that a callback leaves as it is, and measure none if nobody asked for it.

    It passes over hooks that can't be called; so each idle one is None in its callback, which `bring_back` undoes.
    """
    its: Any = trainer
    if type(its.profiler) is PassThroughProfiler:
        its.profiler = Unmeasured()
    for callback in its.callbacks:
        for hook in OF_A_STEP:
            if getattr(callback, hook, None) == getattr(L.Callback, hook).__get__(callback):
                setattr(callback, hook, None)


def bring_back(trainer: L.Trainer) -> None:
    """Give callbacks their idle hooks again."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for hook in OF_A_STEP:
            if vars(callback).get(hook, bring_back) is None:
                delattr(callback, hook)
