"""Training and scoring in one call each, for notebooks and scripts."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.callbacks import Evaluate, EvaluateTranslation, RunProgress, Speed
from lit_gen.modules import GenerativeModule

Module = TypeVar("Module", bound=GenerativeModule)


def fit(
    model: Module,
    data: L.LightningDataModule,
    *,
    max_steps: int | None = None,
    max_epochs: int | None = None,
    callbacks: Sequence[L.Callback] = (),
    **trainer: Any,
) -> Module:
    """Train a model in place, without a file written, and return it.

    For checkpoints, loggers and resuming call Lightning's own ``Trainer(...).fit(model, datamodule=data)``, or the
    command ``lit-gen fit``.

    Args:
        model: What to train.
        data: A data module of ``datamodules``, or another with its batches.
        max_steps: Training batches; None for no bound.
        max_epochs: Passes over the data; None for no bound.
        callbacks: Such as ``lit_gen.callbacks.Evaluate()``.
        **trainer: Further arguments of Lightning's ``Trainer``, such as ``precision="bf16-mixed"``.

    Raises:
        ValueError: if neither bound is given, or training diverges.
    """
    if max_steps is None and max_epochs is None:
        raise ValueError("max_steps=None, max_epochs=None: give one of them, or training has no end")
    steps, epochs = (-1 if bound is None else bound for bound in (max_steps, max_epochs))
    with _quiet():
        _trainer(callbacks, max_steps=steps, max_epochs=epochs, **trainer).fit(model, datamodule=data)
    return model


def evaluate(
    model: GenerativeModule,
    data: L.LightningDataModule,
    split: Literal["val", "test"] = "test",
    *,
    scores: Sequence[str] | None = None,
    num_samples: int = 1000,
    extractor: str | None = "auto",
    seed: int = 0,
    callbacks: Sequence[L.Callback] = (),
    **trainer: Any,
) -> dict[str, float]:
    """Everything that ``lit-gen test`` measures, by its name, such as ``test/fd_digits_1000`` or ``test/nelbo_nats``.

    Samples are compared with all images of the split by :class:`lit_gen.callbacks.Evaluate`, whose arguments
    ``scores``, ``num_samples``, ``extractor`` and ``seed`` are; likelihood models add their bound, and translations
    get the scores of :class:`lit_gen.callbacks.EvaluateTranslation`.

    Args:
        model: A trained model.
        data: A data module of ``datamodules``.
        split: Its held-out images, ``test`` or ``val``.
        scores: Groups of scores, e.g. ``("fd", "precision_recall")``; all are in ``lit_gen.metrics.SCORES``.
        num_samples: Samples to draw.
        extractor: Name of the features; ``auto`` takes those shipped for the data, null none.
        seed: Of the samples' noise.
        callbacks: Such as ``lit_gen.callbacks.LatentDiagnostics()``.
        **trainer: Further arguments of Lightning's ``Trainer``.

    Raises:
        ValueError: for an unknown split or one without images, or scores that the model or extractor can't give.
    """
    if split not in ("val", "test"):
        raise ValueError(f"split={split!r}: 'val' or 'test'")
    own: list[L.Callback] = [Evaluate(extractor, num_samples, scores=scores, seed=seed)]
    if hasattr(model, "translate"):
        own = [EvaluateTranslation(extractor)]
    with _quiet():
        runner = _trainer([*callbacks, *own], **trainer)
        run = runner.validate if split == "val" else runner.test
        measured = run(model, datamodule=data, verbose=False)
    if not measured:
        raise ValueError(f"split={split!r}: {type(data).__name__} has no such images")
    return {name: float(value) for values in measured for name, value in values.items()}


def _trainer(callbacks: Sequence[L.Callback], **arguments: Any) -> L.Trainer:
    own: list[L.Callback] = [RunProgress()] if arguments.get("enable_progress_bar", True) else []
    if not any(isinstance(callback, Speed) for callback in callbacks):
        own.append(Speed())
    brief: dict[str, Any] = {"enable_model_summary": False, "log_every_n_steps": 10}
    nothing_written = {"logger": False, "enable_checkpointing": False}
    return L.Trainer(**{**brief, **nothing_written, **arguments}, callbacks=[*callbacks, *own])


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, the framework says nothing that leaves a user nothing to do; afterwards it speaks as before."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    filters = logger.filters[:]
    with warnings.catch_warnings():
        quieten()
        logger.addFilter(_is_telling)
        try:
            yield
        finally:
            logger.filters[:] = filters


def _is_telling(record: logging.LogRecord) -> bool:
    return not re.match(
        r"(GPU|TPU|HPU) available|Loading `train_dataloader`|`Trainer\.fit` stopped", record.getMessage()
    )


def quieten() -> None:
    """Silence advertisements and warnings that tell a user nothing to do."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(no_advertisement)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode at the start of training.*")  # the averages
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*The number of training batches.*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    warnings.filterwarnings("ignore", message="Experiment logs directory.*")  # W&B's files in a new run's folder
    warnings.filterwarnings("ignore", module="jsonargparse.*")
    # Of a process without samples, whose metrics are sums over all processes.
    warnings.filterwarnings("ignore", message="The ``compute`` method of metric .* was called before")
    if getattr(rank_zero_only, "rank", 0):  # of what all processes find the first tells
        for package in ("torch", "lightning", "torchmetrics", "lit_gen"):
            warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")


def no_advertisement(record: logging.LogRecord) -> bool:
    """Whether a message of the framework isn't one for its makers' wares."""
    return "💡" not in record.getMessage()
