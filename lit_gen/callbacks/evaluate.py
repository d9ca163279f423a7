"""Scores of the model's samples, during and after training."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.callbacks.nth_validation import NthValidationCallback
from lit_gen.metrics.bank import Features
from lit_gen.metrics.choosing import choose_extractor
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.moments import NotFiniteError
from lit_gen.metrics.passes import collect, real_features, samples_of
from lit_gen.metrics.scores import SCORES, Comparison, check_names, compute_scores, few_data, protocol_name

FAST_DEV_SAMPLES = 32  # samples and references in a fast_dev_run


class Evaluate(NthValidationCallback):
    """Scores ``num_samples`` samples against real data and logs ``<split>/<score>_<extractor>_<num_samples>``.

    The split is ``val`` or ``test``; against the training split the names end in ``_train``. By default the scores are
    the Fréchet distance (``fd``, lower is better) and, of extractors that classify, how many classes appear among the
    samples (``classes``) and the mean largest class probability (``top_probability``). `lit_gen.metrics.scores.SCORES`
    has all; one pass of the extractor over the samples serves them all.

    Images are rounded to the 256 levels of a file and not resized; points go to the extractor as they are. A
    conditional model draws sample i of class i mod ``num_classes``. Sample i and the score are the same at
    every evaluation's weights and on any number of processes; the global random state is left alone. The extractor and
    the references' features, computed once a split, are no part of the module.

    In ``fit`` the share of the time since its start that went into scores is logged as ``evaluate/share``.

    Args:
        extractor: ``auto`` takes the one shipped for the data module's name, or the points themselves; ``identity``
            the data themselves, for images also called ``pixels``; ``inception`` (published weights, which are not
            shipped), ``inception-clean``, ``inception-spatial`` or ``inception-random``, with ``-bf16`` for speed;
            ``torchvision:NAME``, ``torchvision:NAME:FILE`` or ``dinov2:FILE``; else a shipped name or a file of
            ``lit-gen extractor`` (``.safetensors``); null switches scoring off.
        num_samples: samples to draw, at least 2. A ``fast_dev_run`` draws 32.
        every_n_epochs: score every n-th validation (and a run's first one, so that a monitored score exists).
        reference: what samples are compared with: all of the split being evaluated (``held_out``: validation in ``fit``
            and ``validate``, test in ``test``) or all of the training split.
        batch_size: images that the extractor sees at once, on each process; samples are drawn 500 at a time.
        at_start: score once before the first step, for the loggers at step 0.
        seed: of the samples' noise.
        scores: names of groups of scores, e.g. ``[fd, kid, precision_recall]``, or one name.
        every_n_steps: score after every n-th training batch, in place of every n-th validation.
        max_share: of the time of ``fit`` that may go into scores, in (0, 1]: an evaluation that would exceed it is left
            out (but never a run's first). Which ones are then depends on the machine.
        capacity: features kept for the scores that compare images one by one; they and the data beyond it are left to
            the moments. `num_samples` if that is less.
        cache: folder for the references' features; ``auto`` is ``$XDG_CACHE_HOME/lit-gen/statistics``, used for passes
            of more than five seconds; ``off`` or null keeps nothing.
        eight_bits: round samples to the 256 levels of an image file.
    """

    def __init__(
        self,
        extractor: str | None = "auto",
        num_samples: int = 1000,
        every_n_epochs: int = 1,
        reference: Literal["train", "held_out"] = "held_out",
        batch_size: int = 500,
        at_start: bool = True,
        seed: int = 0,
        scores: Sequence[str] | str | None = None,
        every_n_steps: int | None = None,
        max_share: float | None = None,
        capacity: int = 10_000,
        cache: str | None = "auto",
        eight_bits: bool = True,
    ) -> None:
        if num_samples < 2:
            raise ValueError(f"num_samples={num_samples}: a covariance needs at least 2 samples")
        counts = {"every_n_epochs": every_n_epochs, "batch_size": batch_size, "capacity": capacity}
        for name, value in {**counts, "every_n_steps": 1 if every_n_steps is None else every_n_steps}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: at least 1 is needed")
        if reference not in ("train", "held_out"):
            raise ValueError(f"reference={reference!r}: 'train' or 'held_out'")
        if max_share is not None and not 0 < max_share <= 1:
            raise ValueError(f"max_share={max_share}: a share of the time in (0, 1], or null for no bound")
        scores = [scores] if isinstance(scores, str) else scores
        check_names(scores or [])
        super().__init__(every_n_epochs)
        self.extractor, self.num_samples = extractor, num_samples
        self.reference, self.batch_size, self.at_start, self.seed = reference, batch_size, at_start, seed
        self.scores, self.every_n_steps, self.max_share = scores, every_n_steps, max_share
        self.capacity, self.eight_bits = capacity, eight_bits
        self.cache = None if cache == "off" else cache
        self.logged: set[str] | None = None  # names of the scores, known once there are some or none to come
        self._data: Any = None
        self._network: Extractor | None = None
        self._references: dict[tuple[str, int | None], Features] = {}
        self._started = self._spent = self._last = 0.0
        self._fitting = False

    # ---- when

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the extractor for the data; refuse an unfit one, or scores that it can't give, before training."""
        self._fitting = stage == "fit"
        if self.extractor is None or stage == "predict":
            return
        if not hasattr(pl_module, "sample"):  # a translation is scored by EvaluateTranslation
            if self.extractor != "auto":
                rank_zero_info(f"Evaluate: {type(pl_module).__name__} draws no samples, so none are scored.")
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise ValueError("Evaluate needs a data module: pass datamodule=..., or Evaluate(extractor=None)")
        data = getattr(data, "pictures", data)  # of latents, whose samples are decoded
        if data is not self._data:
            self._data, self._references, self._network = data, {}, choose_extractor(self.extractor, data)
        if self._network is not None:
            _check_scores(self.scores or [], self._network, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score the untrained model. `log` has no step 0 here, so the loggers are handed the scores."""
        self._started, self._spent, self._last = time.monotonic(), 0.0, 0.0
        self.logged = set() if self._network is None else None
        if not self.at_start or trainer.global_step > 0:
            return
        scores = self._scores(trainer, pl_module, "val")
        self.logged = set(scores)
        self._hand_to_loggers(trainer, scores, step=0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score after every n-th batch, if so asked. `log` would wait for the loggers' own interval."""
        step = trainer.global_step
        if self.every_n_steps is None or step % self.every_n_steps or not self._affordable(trainer):
            return
        scores = self._scores(trainer, pl_module, "val")
        self._hand_to_loggers(trainer, {**scores, **self._share(trainer, scores)}, step - 1)
        for name, score in scores.items():
            pl_module.log(name, score, prog_bar=True, logger=False)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score every n-th validation of a fit, and every one outside it."""
        if trainer.sanity_checking:
            return
        fitting = trainer.state.fn == "fit"
        due = self._is_due(trainer) and (not fitting or self.every_n_steps is None)
        if not self._known(trainer) or (due and (not fitting or self._affordable(trainer))):
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score on the test split."""
        self._log(trainer, pl_module, "test")

    # ---- what

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> None:
        scores = self._scores(trainer, pl_module, split)
        for name, score in scores.items():
            pl_module.log(name, score, prog_bar=True, sync_dist=trainer.world_size > 1)
        for name, share in self._share(trainer, scores).items():
            pl_module.log(name, share, sync_dist=trainer.world_size > 1)

    def _hand_to_loggers(self, trainer: L.Trainer, scores: dict[str, float], step: int) -> None:
        counters: dict[str, float] = getattr(trainer.lightning_module, "counters", {})
        for logger in trainer.loggers if scores and trainer.is_global_zero else []:
            logger.log_metrics({**scores, **counters}, step=step)

    def _share(self, trainer: L.Trainer, scores: dict[str, float]) -> dict[str, float]:
        """The share of the fit's time that went into scores."""
        if trainer.state.fn != "fit" or not scores:
            return {}
        return {"evaluate/share": self._spent / max(time.monotonic() - self._started, 1e-9)}

    def _affordable(self, trainer: L.Trainer) -> bool:
        """Whether one more evaluation as long as the last keeps within `max_share`, in the eyes of all processes."""
        if self.max_share is None or not self._known(trainer):
            return True
        elapsed = time.monotonic() - self._started
        within = self._spent + self._last <= self.max_share * (elapsed + self._last)
        if trainer.world_size > 1:
            within = trainer.strategy.reduce_boolean_decision(within, all=True)
        if not within:
            rank_zero_info(
                f"Evaluate: no scores at step {trainer.global_step}; they have taken {self._spent / elapsed:.0%} of "
                f"the time, and max_share={self.max_share:g}"
            )
        return within

    def _known(self, trainer: L.Trainer) -> bool:
        """Whether this run has logged scores of these samples; true where there are none to log."""
        if self._network is None:
            return True
        end = self._name(trainer, "val", "")
        return any(name.startswith("val/") and end.removeprefix("val/") in name for name in trainer.callback_metrics)

    def _name(self, trainer: L.Trainer, split: str, score: str, kept: bool = False) -> str:
        assert self._network is not None
        against = "_train" if self.reference == "train" else ""
        count = min(self._count(trainer), self.capacity) if kept else self._count(trainer)
        return f"{split}/{protocol_name(score, self._network.name, count, self._network.frechet)}{against}"

    def _count(self, trainer: L.Trainer) -> int:
        return min(self.num_samples, FAST_DEV_SAMPLES) if trainer.fast_dev_run else self.num_samples  # type: ignore[attr-defined]

    def _groups(self, trainer: L.Trainer) -> list[str]:
        """The names of the scores to compute; in a fast_dev_run those that its few samples are enough for."""
        assert self._network is not None
        names = list(self.scores) if self.scores is not None else ["fd"]
        if self.scores is None and self._network.num_classes is not None:
            names.append("classes")
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            names = [name for name in names if SCORES[name].needs in ("moments", "classes")]
        return names

    @torch.no_grad()
    def _scores(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> dict[str, float]:
        """All scores by name, the same on every process. A collective."""
        if self._network is None:
            return {}
        against = "train" if self.reference == "train" else split
        if len(self._data.dataset(against)) < 2:
            rank_zero_info(f"Evaluate: {self._data.name!r} has no split {against!r} to compare samples with.")
            return {}
        begun, network = time.monotonic(), self._network
        place: dict[str, Any] = {
            "batch_size": self.batch_size,
            "capacity": self.capacity,
            "rank": trainer.global_rank,
            "world_size": trainer.world_size,
            "device": pl_module.device,
        }
        real = self._reference(trainer, against, place)
        count, bank = self._count(trainer), None
        read = samples_of(pl_module, network, count, self.seed, self.eight_bits)
        progress = self._progress(trainer, "samples", -(-count // trainer.world_size))
        with progress as advance, suppress(NotFiniteError):
            bank = collect(read, count, network, **place, known_classes=self._knows_classes(), advance=advance)
        # Every process stops, and none waits for the others.
        if trainer.strategy.reduce_boolean_decision(bank is None, all=False):
            raise ValueError(f"the model's samples are not finite at step {trainer.global_step}: the training diverged")
        assert bank is not None
        comparison, scores = Comparison(bank.compute(), real, self.seed), {}
        for group in self._groups(trainer):
            kept = SCORES[group].needs in ("rows", "labels")
            for score, value in compute_scores([group], comparison).items():
                scores[self._name(trainer, split, score, kept)] = value
        self._last = time.monotonic() - begun
        self._spent += self._last
        return scores

    def _reference(self, trainer: L.Trainer, split: str, place: dict[str, Any]) -> Features:
        """The real data's features, each process reading its share of the images. Computed once a split."""
        assert self._network is not None
        fast: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
        limit = FAST_DEV_SAMPLES if fast else None
        if (split, limit) not in self._references:
            total = len(self._data.dataset(split))
            with self._progress(trainer, f"{split} images", -(-total // trainer.world_size)) as advance:
                self._references[split, limit] = real_features(
                    self._data,
                    split,
                    self._network,
                    limit=limit,
                    cache=None if fast else self.cache,
                    agree=lambda found: trainer.strategy.reduce_boolean_decision(found, all=True),
                    advance=advance,
                    **place,
                )
            if not fast:
                self._tell(self._references[split, limit], split, self._groups(trainer))
        return self._references[split, limit]

    def _tell(self, real: Features, split: str, groups: list[str]) -> None:
        """What no name of a score says: how many images it compares with, and whether they are enough."""
        if self._fitting:
            count = f"{real.moments.count:,}"
            rank_zero_info(f"Evaluate: samples are compared with the {count} images of the split {split!r}.")
        for line in few_data(groups, real):
            rank_zero_info(f"Evaluate: warning: {line}")

    def _knows_classes(self) -> bool:
        """Whether the extractor's classes are the data's."""
        assert self._network is not None
        numbers = map(str, range(getattr(self._data, "num_classes", 0)))
        return self._network.knows(getattr(self._data, "class_names", None) or tuple(numbers))

    def _progress(self, trainer: L.Trainer, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        bar: Any = getattr(trainer, "progress_bar_callback", None)
        return bar.part(name, total) if hasattr(bar, "part") else nullcontext(lambda images: None)


def _check_scores(names: Sequence[str], network: Extractor, pl_module: Any) -> None:
    """Refuse scores that the extractor or the model can't give."""
    for name in names:
        if SCORES[name].needs == "classes" and network.num_classes is None:
            raise ValueError(f"scores={name}: the extractor {network.name!r} doesn't classify")
        if SCORES[name].needs == "labels" and not getattr(pl_module, "conditional", False):
            raise ValueError(f"scores={name}: needs samples by class, from a conditional model")
