"""The update step: every optimizer step of every training procedure goes through one method."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from lit_gen.training.draw import Arguments, Draw
from lit_gen.training.faults import Faults, Findings, causes
from lit_gen.training.gradients import Objective, agree, compute_gradients
from lit_gen.training.held_out_means import HeldOutLogging
from lit_gen.training.means import BatchMeans
from lit_gen.training.player import Player, alone


@dataclass(frozen=True)
class Outcome:
    """What became of an update; it is true if the update was made.

    Attributes:
        made: Whether all its steps were made; those of an update that is left out change nothing.
        values: What the objective logged, means over the parts of the batch and over all processes.
    """

    made: bool
    values: dict[str, Tensor] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.made


class UpdatingModule(HeldOutLogging):
    """A module of players that step in turn, by :meth:`update`: gradients, agreement of processes, steps, counts.

    The networks, their averages and their players are those of the :class:`lit_gen.models.GenerativeModel` that a
    subclass also is.

    Attributes:
        updates: Steps made, of each player.
        images_seen: Images of the first player's updates, by all processes.
        batch_mean: Within an objective, the mean over all parts and processes of a mean over the samples at hand.
        faults: What becomes of losses and gradients that are not finite.
        kernels: Makes the context in which the networks' functions are run.
        step: Training batches before this one.
    """

    averages: nn.ModuleDict
    memories: nn.ModuleDict
    pack: int
    _players: list[Player]
    _remembered: dict[str, list[tuple[str, str]]]

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.faults, self.batch_mean = Faults(), BatchMeans()
        self.kernels: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.step = self.images_seen = 0
        self.updates: dict[str, int] = {}
        self._losses: dict[str, dict[str, Tensor]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """As any module, but quick for what each step sets: the running hook's name thirty times, and counts."""
        if name in ("_current_fx_name", "step", "images_seen"):
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self) -> Any:
        """One optimizer and at most one scheduler for each player."""
        return [player.configuration(self) for player in self._players]

    def turns(self, name: str) -> int:
        """Updates of player ``name``, those left out included: what the players' rhythm is counted in."""
        return self.updates[name] + self.faults.skipped.get(name, 0)

    def update(self, name: str | Sequence[str], objective: Objective, *inputs: Draw | Tensor) -> Outcome:
        """One optimizer step of player ``name`` on ``objective(*inputs) -> (loss, values to log)``.

        The loss is a mean over samples. Only this player's weights get gradients; with ``accumulate`` = k the inputs
        are taken in k parts whose gradients add up to the whole batch's. Gradients and values travel between processes
        once, after the last part. A mean over all parts and processes within the objective is ``batch_mean``.

        With several names one pass serves several players: the objective returns a dictionary of their losses, each of
        which is differentiated in its player's weights alone; all gradients are at the same weights, then all step.

        Args:
            name: Of the player, or names of several.
            objective: What is minimised. Drawing random numbers is not its matter, but of what makes its inputs.
            *inputs: One ``Draw``, or tensors, a row a sample.

        Returns:
            Whether the step was made, and the values. ``faults`` or a gradient scaler may leave it out; nothing has
            changed then.

        Raises:
            ValueError: for a player that isn't there, or several of them under ``16-mixed``.
        """
        names, draw = (name,) if isinstance(name, str) else tuple(name), inputs[0]
        if not isinstance(draw, Draw):
            draw = Arguments(objective, inputs)  # type: ignore[arg-type]
        players = self._named(names)
        moving = [parameter for player in players for parameter in player.parameters]
        findings = Findings(self.step, names, partial(causes, self, moving, draw))
        trainer = self.trainer
        restore = self.faults.keep(self._networks, trainer.scaler is not None)
        with alone(players, self._players), self.kernels():
            values = compute_gradients(self, players, objective, draw, self._networks, self.batch_mean, findings)
            values = agree(trainer, players, self._networks, values, findings)
            permitted, optimizers = self.faults.permit(findings), self._optimizers
            made = [self._step(player, optimizers, permitted) for player in players]
        if not any(made):
            restore()
            draw.take_back()
        for player in [player for player, stepped in zip(players, made, strict=True) if permitted and not stepped]:
            message = f"step {self.step}: the {player.name}'s gradient overflows float16"
            self.faults.left_out(player.name, message)
        if all(made):
            self._count(players, values, len(draw))
        return Outcome(all(made), values)

    def _named(self, names: tuple[str, ...]) -> list[Player]:
        strange = [name for name in names if name not in self.updates]
        if strange or len(set(names)) < len(names):
            raise ValueError(f"players {', '.join(names)}: each of {', '.join(self.updates)} at most once")
        if len(names) > 1 and self.trainer.scaler is not None:  # it changes its scale between two optimizers' steps
            raise ValueError("precision=16-mixed: several players can't share a pass under it; take bf16-mixed")
        return [self._players[list(self.updates).index(name)] for name in names]

    def _step(self, player: Player, optimizers: list[LightningOptimizer], permitted: bool) -> bool:
        index = self._players.index(player)
        return player.step(optimizers[index], counted=index == 0, permitted=permitted)

    def _count(self, players: list[Player], values: dict[str, Tensor], rows: int) -> None:
        """What follows from an update that was made: counts, logged values, averages, memories."""
        images = rows * self.pack * self.trainer.world_size
        for player in players:
            self.faults.taken(player.name)
            self.updates[player.name] += 1
            self.images_seen += images if player is self._players[0] else 0
            for network, average in self.averages.items():
                if network in player.networks:
                    average.follow(self.get_submodule(network), images, self.images_seen)  # type: ignore[operator]
            for name, ending in self._remembered.get(player.name, ()):
                own = {key.removesuffix(ending): v for key, v in values.items() if ending and key.endswith(ending)}
                told = {**values, **own, "images": torch.tensor(images)}
                self.memories[name].tell(told)  # type: ignore[operator]
        # A term skipped this time keeps its last value.
        self._losses.setdefault(players[0].name, {}).update(values)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient: here, because fp16 gradients are unscaled only just before."""
        for player in self._players:
            player.clip(self, optimizer)

    @property
    def counters(self) -> dict[str, float]:
        """The axes beside the step: each player's updates, made and left out, and images seen."""
        counts = {f"updates/{name}": float(count) for name, count in self.updates.items()}
        counts |= {f"skipped/{name}": float(count) for name, count in self.faults.skipped.items()}
        return {**counts, "images_seen": float(self.images_seen)}

    @property
    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers: Any = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    @property
    def _networks(self) -> Iterator[nn.Module]:
        return (self.get_submodule(network) for player in self._players for network in player.networks)
