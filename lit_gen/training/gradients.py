"""Gradients of an objective over the parts of a batch, and what processes tell each other of them."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from lit_gen.training.draw import Draw
from lit_gen.training.faults import Findings
from lit_gen.training.means import BatchMeans
from lit_gen.training.player import Player
from lit_gen.training.processes import average_over_processes, running_statistics, without_synchronisation

# Draw (or tensors) -> the player's loss, or each player's by name, and values to log.
Objective = Callable[..., tuple[Any, dict[str, Tensor]]]


def compute_gradients(
    module: L.LightningModule,
    players: list[Player],
    objective: Objective,
    draw: Draw,
    networks: Iterable[nn.Module],
    means: BatchMeans,
    findings: Findings,
) -> dict[str, Tensor]:
    """Leave the mean gradient over the batch in the players' parameters; the logged values' means come back.

    Several players' losses, by their names, are differentiated at the same weights, each in its own player's alone.
    """
    n, count = len(draw), max(player.accumulate for player in players)
    values: dict[str, Tensor] = {}
    for player in players:
        for parameter in player.parameters:
            parameter.grad = None
    for part, (losses, logged) in means.passes(draw, count, objective, networks):
        share = len(part) / n
        check_objective(players, losses, logged)
        findings.see(losses, logged)
        with without_synchronisation(module.trainer.strategy):
            if isinstance(losses, Tensor):
                module.manual_backward(losses if share == 1 else losses * share)
            else:
                for i, player in enumerate(players, 1):
                    kept = i < len(players)  # one graph for all of them
                    loss = losses[player.name] * share
                    module.manual_backward(loss, inputs=player.parameters, retain_graph=kept)
        for key, value in logged.items():
            values[key] = value.detach() if share == 1 else values.get(key, 0.0) + share * value.detach()
    return values


def check_objective(players: list[Player], losses: Any, logged: dict[str, Any]) -> None:
    """Refuse what an objective must not return.

    Raises:
        ValueError: naming the player or the value.
    """
    if len(players) > 1 or not isinstance(losses, Tensor):
        names, given = {player.name for player in players}, losses if isinstance(losses, dict) else {"one": losses}
        if given.keys() != names:
            raise ValueError(
                f"losses of {', '.join(map(str, given))}: one for each of {', '.join(sorted(names))} is needed"
            )
    for name, value in logged.items():
        if not isinstance(value, Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"value {name}={shape}: a tensor without dimensions can be logged")


def agree(
    trainer: L.Trainer,
    players: list[Player],
    networks: Iterable[nn.Module],
    values: dict[str, Tensor],
    findings: Findings,
) -> dict[str, Tensor]:
    """Average gradients, running statistics and logged values over processes, in one message; find faults of any.

    Returns:
        The values' means.
    """
    gradients = [p.grad for player in players for p in player.parameters if p.grad is not None]
    processes = trainer.world_size
    marks = findings.conclude(gradients, trainer.scaler is None, trainer.global_rank if processes > 1 else 0, processes)
    if processes == 1:
        return values
    told = torch.stack([value.to(marks.dtype) for value in values.values()]) if values else marks.new_empty(0)
    average_over_processes([*gradients, *running_statistics(networks), marks, told])
    return dict(zip(values, told, strict=True))
