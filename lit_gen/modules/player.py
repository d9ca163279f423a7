"""A player: networks that are stepped together, and how."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


@dataclass
class Player:
    """One side of the game.

    Args:
        name: Prefix of its arguments and of its logged values, e.g. ``generator``.
        networks: Names of the module's attributes that it owns.
        optimizer: Makes its optimizer from its parameters.
        scheduler: Makes its learning-rate scheduler, stepped after each of its updates.
        clip_norm: Largest norm of its whole gradient; larger ones are scaled down.
        accumulate: Number of parts in which a batch is taken, to save memory.

    Raises:
        ValueError: if a setting is out of range.
    """

    name: str
    networks: tuple[str, ...]
    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None = None
    clip_norm: float | None = None
    accumulate: int = 1

    parameters: list[nn.Parameter] = field(init=False, default_factory=list)
    torch_optimizer: torch.optim.Optimizer | None = field(init=False, default=None)
    lr_scheduler: LRScheduler | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"{self.name}_clip_norm={self.clip_norm}: a positive norm, or null for no clipping")
        if self.accumulate < 1:
            raise ValueError(f"{self.name}_accumulate={self.accumulate}: at least 1 part is needed")

    def configuration(self, module: nn.Module) -> dict[str, Any]:
        """Collect the trainable parameters and make optimizer and scheduler, in Lightning's form."""
        self.parameters = [
            p for network in self.networks for p in module.get_submodule(network).parameters() if p.requires_grad
        ]
        if not self.parameters:
            raise ValueError(f"the {self.name} ({', '.join(self.networks)}) has no trainable parameters")
        self.torch_optimizer = self.optimizer(self.parameters)
        if self.scheduler is None:
            return {"optimizer": self.torch_optimizer}
        scheduler = self.scheduler(self.torch_optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                f"{self.name}_scheduler=ReduceLROnPlateau needs a metric: take one that counts updates, "
                "such as torch.optim.lr_scheduler.LinearLR"
            )
        self.lr_scheduler = scheduler
        return {
            "optimizer": self.torch_optimizer,
            "lr_scheduler": {"scheduler": scheduler, "name": f"lr-{self.name}"},
        }

    @contextmanager
    def alone(self, players: "list[Player]") -> Iterator[None]:
        """Within, the other players' weights are frozen, so that no gradient of theirs is computed."""
        own = set(map(id, self.parameters))
        idle = [p for player in players for p in player.parameters if id(p) not in own]
        for parameter in idle:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in idle:
                parameter.requires_grad_(True)


def average_over_processes(tensors: list[torch.Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in one message per data type. A collective."""
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for same in by_type.values():
        message = torch.cat([tensor.flatten() for tensor in same])
        torch.distributed.all_reduce(message)
        message /= torch.distributed.get_world_size()
        for tensor, part in zip(same, message.split([tensor.numel() for tensor in same]), strict=True):
            tensor.copy_(part.view_as(tensor))
