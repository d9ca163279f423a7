"""The framework's hooks around a step, of which a small model's run has more than operations, at the least cost."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

# Of each training batch; all that a trainer asks every callback for between two batches.
OF_A_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
BUILDER = "_build_kwargs"  # of the loop over batches
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


def look_once(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Let the trainer look once at the arguments that `training_step` takes, not at each batch."""
    loop: Any = trainer.fit_loop.epoch_loop
    if hasattr(loop, BUILDER):
        numbered = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
        setattr(loop, BUILDER, partial(_arguments, numbered))


def _arguments(numbered: bool, arguments: dict[str, Any], batch: Any, batch_idx: int) -> dict[str, Any]:
    return arguments | {"batch": batch} | ({"batch_idx": batch_idx} if numbered else {})


def bring_back(trainer: L.Trainer) -> None:
    """Give callbacks their idle hooks again, and the loop its own look at arguments."""
    if BUILDER in vars(trainer.fit_loop.epoch_loop):
        delattr(trainer.fit_loop.epoch_loop, BUILDER)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for hook in OF_A_STEP:
            if vars(callback).get(hook, bring_back) is None:
                delattr(callback, hook)
