"""What every training procedure shares beside the update step: seeds, averages in use, logging, checkpoints."""

import math
import os
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_gen.encoded import Encoded
from lit_gen.kernels import guard_convolutions, load_constants
from lit_gen.models.base import GenerativeModel
from lit_gen.networks.layers import batch_comparisons
from lit_gen.pretrained.codec import read_codec
from lit_gen.pretrained.specification import keep_own_arguments
from lit_gen.pretrained.warm_start import initialise
from lit_gen.training.player import Player
from lit_gen.training.processes import prepare
from lit_gen.training.randomness import Randomness, mix, seed_global
from lit_gen.training.schedule_length import updates_left
from lit_gen.training.update import UpdatingModule

Batch = tuple[Tensor, Tensor]


class GenerativeModule(GenerativeModel, UpdatingModule):
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

    device = L.LightningModule.device  # which is known without a look at the weights

    def __init__(
        self,
        image_shape: tuple[int, ...],
        ema_half_life: float | None,
        ema_ramp_up: float | None = None,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up)
        guard_convolutions()
        self.random = Randomness()
        self.seed: int | None = None

    def _keep_arguments(self) -> None:
        """Keep what the constructor was given, in the form in which LightningCLI does."""
        self.save_hyperparameters()
        keep_own_arguments(self)

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """Name the players, first the one that steps once per training batch, and the networks to average.

        All networks exist by now, and start from the weights of ``init_from`` if it is given.
        """
        if init_from is not None:
            initialise(self, init_from)
            self.hparams["init_from"] = None  # a checkpoint of this module needs no other
        for player in players:
            player.freeze_layers(self)
        super().define(players, averaged)
        self.updates = {player.name: 0 for player in players}

    def setup(self, stage: str) -> None:
        """Learn this process's place and refuse what the update step can't do."""
        guard_convolutions()  # in a process that the trainer started, too, as the constants
        load_constants()
        prepare(self.trainer)
        self.trainer.precision_plugin.convert_module(self)  # before a checkpoint's weights, which would be rounded
        self.random = Randomness(self.trainer.global_rank, self.trainer.world_size)
        self.batch_mean.processes = self.trainer.world_size
        self._meet_data(getattr(self.trainer, "datamodule", None))

    def _meet_data(self, data: Any) -> None:
        """See that the data hold what is modelled, and take the codec of latents or codes.

        Raises:
            FileNotFoundError: the codec is missing.
            ValueError: the data hold something else, or latents of another codec than the one that is known.
        """
        if data is None:
            return
        holds, name, kind = getattr(data, "holds", "images"), type(data).__name__, type(self).__name__
        if holds not in self.models:
            raise ValueError(f"{name}: a {kind} models {' or '.join(self.models)}, and these are {holds}")
        given: Encoded | None = getattr(data, "encoded", None)
        if given is None and self.codec is not None:
            raise ValueError(f"{name}: the {kind} was trained on {self.codec.encoded.kind}, and these are {holds}")
        if given is not None and getattr(self, "bounded", False):
            raise ValueError(f"bounded=True: {name} holds latents, which have no bounds; give the {kind} bounded=False")
        if given is not None and self.codec is not None:
            self.codec.encoded.check_same(given, f"the {kind}", name)
        elif given is not None:
            self.codec = read_codec(given)

    def on_fit_start(self) -> None:
        """Fix the run's seed, the same on every process and after every resume."""
        if self.seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed() % 2**32))
            self.seed = self.trainer.strategy.broadcast(seed)
        self._warn_of_shares()

    def updates_in(self, steps: int) -> dict[str, int]:
        """Updates of each player in ``steps`` of the trainer, none of which is left out; empty where nobody knows.

        What a class says holds for its own ``training_step``, not for that of a subclass.
        """
        return {}

    def on_train_start(self) -> None:
        """Refuse a learning-rate schedule that would end before the run.

        Not before: asked for its length, a trainer loads the data, which then doesn't go on from a checkpoint's place.

        Raises:
            ValueError: naming the updates that the run makes of each player.
        """
        left = {p.name: updates_left(p.lr_scheduler) for p in self._players if p.lr_scheduler is not None}
        owner = next(kind for kind in type(self).__mro__ if "training_step" in vars(kind))
        if all(map(math.isinf, left.values())) or "updates_in" not in vars(owner):
            return
        trainer: Any = self.trainer
        if math.isinf(steps := trainer.estimated_stepping_batches):
            return
        before, after = self.updates_in(trainer.global_step), self.updates_in(int(steps))
        needed = {name: count - before[name] for name, count in after.items()}
        for name, updates in left.items():
            if updates < needed[name]:
                counts = " and ".join(f"{count} of the {player}" for player, count in needed.items())
                raise ValueError(
                    f"the {name}'s learning-rate schedule ends after {updates:g} updates, before the run, which makes "
                    f"{counts}: give OneCycleLR as many by total_steps"
                )

    def _warn_of_shares(self) -> None:
        """Say what makes processes, or parts of a batch, train on something else than the whole batch would."""
        options = [name for name in ("loss", "unroll", "objective") if hasattr(self, name)]
        coupled = [name for name in options if getattr(getattr(self, name), "couples_batch", False)]
        for player in self._players:
            for network in player.networks:
                layers = batch_comparisons(self.get_submodule(network))
                coupled += [f"{network}.{layer}" for layer in layers]
        shares = [f"{self.trainer.world_size} processes"] if self.trainer.world_size > 1 else []
        shares += [f"{p.name}_accumulate={p.accumulate}" for p in self._players if p.accumulate > 1]
        if coupled and shares:
            rank_zero_warn(
                f"{', '.join(coupled)}: the samples of a batch are compared, with {' and '.join(shares)} only those of "
                "each share; training then differs from that on whole batches"
            )

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
            self.log_dict(losses, prog_bar=True)  # means over the processes already
            self.log_dict(self.counters)

    def on_validation_epoch_end(self) -> None:
        """Log the counters beside the scores of a fit, which can so be drawn against them."""
        self.log_held_out()
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.log_dict(self.counters, sync_dist=self.trainer.world_size > 1)

    def on_test_epoch_end(self) -> None:
        """Log what the test's steps have measured."""
        self.log_held_out()

    def on_train_end(self) -> None:
        """Leave no fault unread."""
        self.faults.settle()

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """The same noise at every validation, on any number of processes and in batches of any size."""
        first = self.begin_held_out_batch(batch, batch_idx, dataloader_idx)
        self.random.reseed(self.seed or 0, "evaluation", dataloader_idx, first=first)

    on_test_batch_start = on_validation_batch_start
    on_predict_batch_start = on_validation_batch_start

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counters, but none of a fault that has not been read yet."""
        self.faults.settle()
        counts = {"updates": dict(self.updates), "skipped": dict(self.faults.skipped)}
        losses = {name: {k: v.cpu() for k, v in values.items()} for name, values in self._losses.items()}
        checkpoint["lit_gen"] = {"seed": self.seed, "images_seen": self.images_seen, "losses": losses, **counts}
        if self.codec is not None:
            checkpoint["lit_gen"]["codec"] = self.codec.encoded.as_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters; options that were turned on since begin with a memory of their own."""
        weights, own = checkpoint.get("state_dict", {}), self.state_dict()
        for key in [key for key in weights if key.startswith("memories.") and key not in own]:
            del weights[key]
        weights.update({k: v for k, v in own.items() if k.startswith("memories.") and k not in weights})
        counters = checkpoint.get("lit_gen", {})
        self.seed = counters.get("seed")
        self.images_seen = counters.get("images_seen", 0)
        self._losses = {name: dict(values) for name, values in counters.get("losses", {}).items()}
        self.updates.update(counters.get("updates", {}))
        self.faults.skipped = dict(counters.get("skipped", {}))
        if (described := counters.get("codec")) is not None:
            encoded = Encoded.of(described, "the checkpoint")
            if self.codec is None:
                self.codec = read_codec(encoded)
            encoded.check_same(self.codec.encoded, "the checkpoint", "the data module")
