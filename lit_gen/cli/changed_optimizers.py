"""Learning rates, other settings of optimizers, and schedules that are changed where a run goes on."""

import warnings
from typing import Any

import lightning.pytorch as L

from lit_gen.modules import GenerativeModule
from lit_gen.training.player import Player

KINDS = ("optimizer", "scheduler")


class ChangedOptimizers(L.Callback):
    """Puts the settings of changed optimizers and schedules in the place of those that a checkpoint restores.

    Moments stay, unless an optimizer of another class follows. A schedule is where it would be after as many updates
    had it been the run's from the start.

    Args:
        before: The checkpoint's model as a configuration, ``class_path`` and ``init_args``.
        now: The one that goes on.
    """

    def __init__(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        old, new = before["init_args"], now["init_args"]
        self.changed = {name for name in new if name.endswith(KINDS) and old.get(name) != new[name]}
        self._other_class = {
            name for name in self.changed if name.endswith("optimizer") and _kind(old.get(name)) != _kind(new[name])
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave out what other classes can't take up."""
        if not self.changed or not isinstance(pl_module, GenerativeModule):
            return
        for player, state in zip(pl_module._players, checkpoint["optimizer_states"], strict=True):
            if self._other_class & {f"{player.name}_optimizer", "optimizer"}:
                state["state"] = {}
        checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Settings and schedules as they are asked for now."""
        if self.changed and isinstance(pl_module, GenerativeModule):
            for player in pl_module._players:
                _renew(player, pl_module, pl_module.updates[player.name])


def _kind(value: Any) -> Any:
    return value.get("class_path") if isinstance(value, dict) else value


def _renew(player: Player, module: GenerativeModule, updates: int) -> None:
    """Take over the settings of a new optimizer whose schedule has seen so many updates."""
    assert player.torch_optimizer is not None
    fresh = player.new_optimizer(module)
    schedule = None if player.scheduler is None else player.scheduler(fresh)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the schedule of an optimizer that never steps
        for _ in range(updates if schedule is not None else 0):
            schedule.step()  # type: ignore[union-attr]
    for own, new in zip(player.torch_optimizer.param_groups, fresh.param_groups, strict=True):
        own.update({key: value for key, value in new.items() if key != "params"})
    if schedule is not None and player.lr_scheduler is not None:
        player.lr_scheduler.load_state_dict(schedule.state_dict())
