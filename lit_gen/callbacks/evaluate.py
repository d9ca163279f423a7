"""Fréchet distance and class coverage of the model's samples, during and after training."""

from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.metrics import (
    SHIPPED,
    ClassCoverage,
    Extractor,
    FeatureMoments,
    IdentityExtractor,
    Moments,
    frechet_distance,
    load_extractor,
)
from lit_gen.randomness import mix

FAST_DEV_SAMPLES = 32  # samples and references in a fast_dev_run


class Evaluate(L.Callback):
    """Scores ``num_samples`` samples against real data and logs, for a split ``val`` or ``test``,

    - ``<split>/fd_<extractor>_<num_samples>``: Fréchet distance of features (lower is better),
    - ``<split>/classes_<extractor>_<num_samples>``: how many classes appear among the samples,
    - ``<split>/top_probability_<extractor>_<num_samples>``: mean largest class probability,

    the last two for extractors that classify. Against the training split the names end in ``_train``.
    Samples go to the extractor as the model makes them, float32 in [-1, 1], without rounding to 8 bits or resizing.

    Sample i and the score are the same at every evaluation's weights and on any number of processes; the global random
    state is left alone. The extractor and the references' statistics, computed once a split, are no part of the module.

    Args:
        extractor: ``auto`` takes the one shipped for the data module's name, or the points themselves; ``identity``
            the data themselves; else a shipped name or a ``.safetensors`` file; null switches scoring off.
        num_samples: samples to draw, at least 2. A ``fast_dev_run`` draws 32.
        every_n_epochs: score every n-th validation (and a run's first one, so that a monitored score exists).
        reference: what samples are compared with: all of the split being evaluated (``held_out``: validation in ``fit``
            and ``validate``, test in ``test``) or all of the training split.
        batch_size: samples drawn at once, by one process. It belongs to the noise: another size, other samples.
        at_start: score once before the first step, for the loggers at step 0.
        seed: of the samples' noise.
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
    ) -> None:
        if num_samples < 2:
            raise ValueError(f"num_samples={num_samples}: a covariance needs at least 2 samples")
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs}: at least 1 is needed")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1 is needed")
        if reference not in ("train", "held_out"):
            raise ValueError(f"reference={reference!r}: 'train' or 'held_out'")
        self.extractor, self.num_samples, self.every_n_epochs = extractor, num_samples, every_n_epochs
        self.reference, self.batch_size, self.at_start, self.seed = reference, batch_size, at_start, seed
        self._data: Any = None
        self._network: Extractor | None = None
        self._references: dict[tuple[str, int | None], Moments] = {}
        self._validations = 0

    # ---- when

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the extractor for the data, and refuse an unfit one before training starts."""
        if self.extractor is None or stage == "predict":
            return
        if not hasattr(pl_module, "sample"):  # a translation is scored by EvaluateTranslation
            if self.extractor != "auto":
                rank_zero_info(f"Evaluate: {type(pl_module).__name__} draws no samples, so none are scored.")
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise ValueError("Evaluate needs a data module: pass datamodule=..., or Evaluate(extractor=None)")
        if data is not self._data:
            self._data, self._references, self._network = data, {}, choose_extractor(self.extractor, data)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score the untrained model. `log` has no step 0 here, so the loggers are handed the scores."""
        if not self.at_start or trainer.global_step > 0:
            return
        scores = self._scores(trainer, pl_module, "val")
        for logger in trainer.loggers if scores and trainer.is_global_zero else []:
            logger.log_metrics(scores, step=0)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score every n-th validation of a fit, and every one outside it."""
        if trainer.sanity_checking:
            return
        fitting = trainer.state.fn == "fit"
        self._validations += fitting
        due = not fitting or self._validations % self.every_n_epochs == 0
        if due or self._name(trainer, "val", "fd") not in trainer.callback_metrics:
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score on the test split."""
        self._log(trainer, pl_module, "test")

    def state_dict(self) -> dict[str, Any]:
        """The count behind ``every_n_epochs``."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._validations = state_dict["validations"]

    # ---- what

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> None:
        for name, score in self._scores(trainer, pl_module, split).items():
            pl_module.log(name, score, prog_bar=True, sync_dist=trainer.world_size > 1)

    def _name(self, trainer: L.Trainer, split: str, score: str) -> str:
        against = "_train" if self.reference == "train" else ""
        extractor = self._network.name if self._network is not None else "none"
        return f"{split}/{score}_{extractor}_{self._count(trainer)}{against}"

    def _count(self, trainer: L.Trainer) -> int:
        return min(self.num_samples, FAST_DEV_SAMPLES) if trainer.fast_dev_run else self.num_samples  # type: ignore[attr-defined]

    @torch.no_grad()
    def _scores(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> dict[str, float]:
        """All scores by name, the same on every process. A collective."""
        if self._network is None:
            return {}
        against = "train" if self.reference == "train" else split
        if len(self._data.dataset(against)) < 2:
            rank_zero_info(f"Evaluate: {self._data.name!r} has no split {against!r} to compare samples with.")
            return {}
        network = self._network.to(pl_module.device)
        reference = self._reference(trainer, pl_module, against)
        moments, classes = self._moments(pl_module), None
        if network.num_classes is not None:
            classes = ClassCoverage(network.num_classes).to(moments.device)
        count, broken = self._count(trainer), False
        for chunk in range(trainer.global_rank, -(-count // self.batch_size), trainer.world_size):
            generator = torch.Generator().manual_seed(mix(self.seed, "evaluate", chunk))
            size = min(self.batch_size, count - chunk * self.batch_size)
            images = pl_module.sample(size, generator=generator)  # type: ignore[operator]
            features, logits = network.extract(images)
            if not features.isfinite().all():
                broken = True
                break
            moments.update(features)
            if classes is not None and logits is not None:
                classes.update(logits)
        if trainer.strategy.reduce_boolean_decision(broken, all=False):  # every process stops, none waits for another
            raise ValueError(f"the model's samples are not finite at step {trainer.global_step}: the training diverged")
        samples = moments.compute()
        distance = frechet_distance(samples.mean, samples.covariance, reference.mean, reference.covariance)
        scores = {"fd": float(distance), **(classes.compute() if classes is not None else {})}
        return {self._name(trainer, split, score): float(value) for score, value in scores.items()}

    def _reference(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> Moments:
        """The real data's moments, each process reading its share of the indices. Computed once a split."""
        limit = FAST_DEV_SAMPLES if trainer.fast_dev_run else None  # type: ignore[attr-defined]
        if (split, limit) not in self._references:
            assert self._network is not None
            dataset, moments = self._data.dataset(split), self._moments(pl_module)
            share = list(range(len(dataset)))[:limit][trainer.global_rank :: trainer.world_size]
            for start in range(0, len(share), self.batch_size):
                images, _ = dataset.__getitems__(share[start : start + self.batch_size])
                moments.update(self._network.extract(self._data.to_float(images.to(pl_module.device)))[0])
            self._references[split, limit] = moments.compute()
        return self._references[split, limit]

    def _moments(self, pl_module: L.LightningModule) -> FeatureMoments:
        assert self._network is not None
        # Apple's GPUs know no float64.
        device = torch.device("cpu") if pl_module.device.type == "mps" else pl_module.device
        return FeatureMoments(self._network.num_features).to(device)


def choose_extractor(extractor: str, data: Any) -> Extractor | None:
    """The extractor for a data module, or None if it is to be found (``auto``) and none is shipped.

    Raises:
        ValueError: an unknown name, or an extractor for images of another shape.
        FileNotFoundError: no such file.
    """
    shape = tuple(data.image_shape)
    if extractor == "identity" or (extractor == "auto" and len(shape) == 1):
        return IdentityExtractor(shape)
    if extractor != "auto":
        network = load_extractor(extractor)
        if network.image_shape != shape:
            raise ValueError(
                f"extractor={extractor!r}: made for image_shape={network.image_shape}, but the data have {shape}"
            )
        return network
    if data.name in SHIPPED:
        network = load_extractor(data.name)
        if network.image_shape == shape:
            return network
    rank_zero_info(
        f"Evaluate: no extractor is shipped for {data.name!r} with image_shape={shape}, so samples are not scored. "
        f"Train one with `python scripts/train_extractor.py --data {type(data).__name__} --out FILE.safetensors` "
        "and pass it as `extractor`."
    )
    return None
