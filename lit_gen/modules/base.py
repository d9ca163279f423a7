"""What every training procedure shares: players, the update step, averaging and counters."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from lit_gen.kernels import guard_convolutions
from lit_gen.pretrained.specification import keep_own_arguments
from lit_gen.pretrained.warm_start import initialise
from lit_gen.training.averaging import ExponentialMovingAverage
from lit_gen.training.faults import Faults, Findings, causes
from lit_gen.training.player import Player
from lit_gen.training.processes import average_over_processes, prepare, running_statistics, without_synchronisation
from lit_gen.training.randomness import Randomness, mix, seed_global

Batch = tuple[Tensor, Tensor]
Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]


class GenerativeModule(L.LightningModule):
    """A generative model and its training procedure. The base holds no mathematics.

    A subclass builds its networks, names its players by :meth:`define` and writes ``training_step`` in calls of
    :meth:`update`.

    ``trainer.global_step``, the loggers' axis and ``max_steps`` all count training batches. ``updates`` (of each
    player) and ``images_seen`` (by all processes) are logged beside them and live in the checkpoint.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``.
        ema_half_life: Half-life of the weight averages in images; None for none.
        ema_ramp_up: Its bound as a share of the images seen; None for none.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        ema_half_life: float | None,
        ema_ramp_up: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        keep_own_arguments(self)
        if ema_half_life is not None and not ema_half_life > 0:
            raise ValueError(f"ema_half_life={ema_half_life}: a positive number of images, or null for no average")
        guard_convolutions()
        self.automatic_optimization = False
        self.image_shape = tuple(image_shape)
        self.ema_half_life, self.ema_ramp_up, self.averages = ema_half_life, ema_ramp_up, nn.ModuleDict()
        self.random, self.faults = Randomness(), Faults()
        self.kernels: Callable[[], AbstractContextManager[Any]] = nullcontext  # how its networks' functions are run
        self.seed: int | None = None
        self.pack = 1  # images in a row of the batches that update() gets
        self.step = self.images_seen = 0  # training batches before this one; images of the first player's updates
        self.updates: dict[str, int] = {}
        self._players: list[Player] = []
        self._losses: dict[str, dict[str, Tensor]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """As any module, but quick for the name of the running hook, which the framework sets thirty times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """Name the players, first the one that steps once per training batch, and the networks to average.

        All networks exist by now, and start from the weights of ``init_from`` if it is given.
        """
        if init_from is not None:
            initialise(self, init_from)
            self.hparams["init_from"] = None  # a checkpoint of this module needs no other
        self._players = players
        self.updates = {player.name: 0 for player in players}
        if self.ema_half_life is not None:
            for name in averaged:
                network = self.get_submodule(name)
                self.averages[name] = ExponentialMovingAverage(network, self.ema_half_life, self.ema_ramp_up)

    def network(self, name: str) -> nn.Module:
        """The average of the network ``name`` if one is kept, else the network itself."""
        return self.get_submodule(f"averages.{name}.network" if name in self.averages else name)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within, all networks are in eval mode."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def configure_optimizers(self) -> Any:
        """One optimizer and at most one scheduler for each player."""
        return [player.configuration(self) for player in self._players]

    def turns(self, name: str) -> int:
        """Updates of player ``name``, those left out included: what the players' rhythm is counted in."""
        return self.updates[name] + self.faults.skipped.get(name, 0)

    def update(self, name: str, objective: Objective, *batch: Tensor) -> bool:
        """One optimizer step of player ``name`` on ``objective(*batch) -> (loss, values to log)``.

        Only this player's weights get gradients. With ``accumulate`` = k the batch is taken in k parts whose
        gradients add up to the whole batch's. Gradients travel between processes once, after the last part.

        Returns:
            Whether the step was made. ``faults`` or a gradient scaler may leave it out; nothing has changed then.
        """
        index, n, trainer = list(self.updates).index(name), len(batch[0]), self.trainer
        player, optimizer = self._players[index], self._optimizers[index]
        findings = Findings(self.step, name, partial(causes, self, player.parameters, objective, batch))
        put_back = self.faults.keep(self._networks)
        losses: dict[str, Tensor] = {}
        with player.alone(self._players), self.kernels():
            for parameter in player.parameters:
                parameter.grad = None
            k = player.accumulate
            for part in [batch] if k == 1 else zip(*(tensor.chunk(k) for tensor in batch), strict=True):
                loss, values = objective(*part)
                findings.see(loss, values)
                share = len(part[0]) / n
                with without_synchronisation(trainer.strategy):
                    self.manual_backward(loss if share == 1 else loss * share)
                for key, value in values.items():
                    losses[key] = value.detach() if share == 1 else losses.get(key, 0.0) + share * value.detach()
            gradients = [p.grad for p in player.parameters if p.grad is not None]
            marks = findings.conclude(gradients, trainer.scaler is None, trainer.global_rank, trainer.world_size)
            if trainer.world_size > 1:
                average_over_processes([*gradients, *running_statistics(self._networks), marks])
            permitted = self.faults.permit(findings)
            stepped = player.step(optimizer, counted=index == 0, permitted=permitted)
        if not stepped:
            put_back()
            if permitted:
                self.faults.left_out(name, f"step {self.step}: the {name}'s gradient overflows float16")
            return False
        self.faults.taken(name)
        self._losses.setdefault(name, {}).update(losses)  # a term skipped this time keeps its last value
        self.updates[name] += 1
        images = n * self.pack * trainer.world_size
        self.images_seen += images if index == 0 else 0
        for network, average in self.averages.items():
            if network in player.networks:
                average.follow(self.get_submodule(network), images, self.images_seen)  # type: ignore[operator]
        return True

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

    def setup(self, stage: str) -> None:
        """Learn this process's place and refuse what the update step can't do."""
        guard_convolutions()  # in a process that the trainer started, too
        prepare(self.trainer)
        self.random = Randomness(self.trainer.global_rank, self.trainer.world_size)

    def on_fit_start(self) -> None:
        """Fix the run's seed, the same on every process and after every resume."""
        if self.seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed() % 2**32))
            self.seed = self.trainer.strategy.broadcast(seed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make all randomness of the step a function of (seed, step): nothing to save, nothing repeated."""
        self.step = self.trainer.global_step
        self.random.reseed(self.seed or 0, "train", self.step, device=self.device)
        seed_global(mix(self.seed or 0, "networks", self.step, self.trainer.global_rank), self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Hand the players' last losses to the loggers and the progress bar."""
        trainer: Any = self.trainer
        if trainer.fast_dev_run or trainer.global_step % max(1, trainer.log_every_n_steps) == 0:
            losses = {f"train/{key}": v for terms in self._losses.values() for key, v in terms.items()}
            self.log_dict(losses, prog_bar=True, sync_dist=self.trainer.world_size > 1)
            self.log_dict(self.counters)

    def on_validation_epoch_end(self) -> None:
        """Log the counters beside the scores of a fit, which can so be drawn against them."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.log_dict(self.counters, sync_dist=self.trainer.world_size > 1)

    def on_train_end(self) -> None:
        """Leave no fault unread."""
        self.faults.settle()

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """The same noise at every validation, on any number of processes."""
        self.random.reseed(self.seed or 0, "evaluation", batch_idx)

    on_test_batch_start = on_validation_batch_start
    on_predict_batch_start = on_validation_batch_start

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counters, but none of a fault that has not been read yet."""
        self.faults.settle()
        counts = {"updates": dict(self.updates), "skipped": dict(self.faults.skipped)}
        checkpoint["lit_gen"] = {"seed": self.seed, "images_seen": self.images_seen, **counts}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters."""
        counters = checkpoint.get("lit_gen", {})
        self.seed = counters.get("seed")
        self.images_seen = counters.get("images_seen", 0)
        self.updates.update(counters.get("updates", {}))
        self.faults.skipped = dict(counters.get("skipped", {}))
