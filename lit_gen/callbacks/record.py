"""What is left of a run: the data found, the trained model with its card, the id by which trackers know the run."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.files import whole_file
from lit_gen.modules import GenerativeModule
from lit_gen.tracking.code_version import code_version


class RunRecord(L.Callback):
    """Says what the data are, writes the model at the end of ``fit``, and keeps the id of a W&B run in checkpoints.

    What a data module's ``summary()`` tells is printed before training, and written to ``data.json``. The model is
    written after Ctrl-C too.

    The folder ``model`` under the trainer's log directory is one of `lit_gen.save_pretrained`, with a card of data,
    steps, seed, last scores and commit; W&B gets it as an artifact ``model-<id>`` of the type model.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._first_step = 0
        self.wandb_id: str | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Learn the folder while all processes are here to agree on it."""
        directory = trainer.log_dir
        self._folder = None if directory is None else Path(directory)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Learn where the run begins, and say what it learns from."""
        self._first_step = trainer.global_step
        summary = getattr(trainer.datamodule, "summary", None)  # type: ignore[attr-defined]
        if summary is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        found, refusal = (summary(), "") if trainer.is_global_zero else (None, "")
        if found is not None and (errors := found.found.errors):
            looked = found.found.looked + len(errors)
            refusal = f"{errors[0]} ({len(errors)} of {looked} files looked at can't be read; lit-gen check lists all)"
        if refusal := trainer.strategy.broadcast(refusal):  # all processes end, none waits for one that has
            raise ValueError(refusal)
        if found is None:
            return
        for line in (found.line(), *(f"warning: {text}" for text in found.warnings), *_mirroring(trainer)):
            print(f"lit-gen: {line}", file=sys.stderr)
        if self._folder is not None:
            with whole_file(self._folder / "data.json") as file:
                file.write((json.dumps(found.as_dict(), indent=2) + "\n").encode())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the model."""
        self._write(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write the model of an interrupted run; the weights of a failed one are worth nothing."""
        if isinstance(exception, (KeyboardInterrupt, SystemExit)) and trainer.state.fn == "fit":
            self._write(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the W&B run's id, which the client may have chosen."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.version is not None:
                self.wandb_id = str(logger.version)
        checkpoint["wandb_id"] = self.wandb_id

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the run, for checkpoints of a fit that goes on untracked."""
        self.wandb_id = checkpoint.get("wandb_id")

    def _write(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self._folder is None or trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        if not isinstance(module, GenerativeModule) or trainer.global_step <= self._first_step:
            return
        from lit_gen.pretrained.saving import save_pretrained  # which imports what only the end of a run needs

        folder = self._folder / "model"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier fit of the same trainer
        try:
            told = facts(trainer, module)
            save_pretrained(module, folder, told)
        except (TypeError, ValueError) as error:  # a class of the user's that plain values don't describe
            rank_zero_warn(f"RunRecord: the model is only in checkpoints, it can't be written as plain values: {error}")
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                import wandb  # slow, and only for those who track

                run: Any = logger.experiment
                artifact = wandb.Artifact(f"model-{run.id}", "model", metadata=told)
                artifact.add_dir(str(folder))
                run.log_artifact(artifact, aliases=["latest", f"step-{trainer.global_step}"])


def _mirroring(trainer: L.Trainer) -> list[str]:
    """That images in colour, which are photos more often than not, are shown as they are."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if getattr(data, "flip", None) is not False or len(data.image_shape) != 3 or data.image_shape[0] != 3:
        return []
    return ["images are never mirrored (flip=False); photos gain by --data.flip true, which mirrors a random half"]


def facts(trainer: L.Trainer, module: GenerativeModule) -> dict[str, Any]:
    """What the model's card says."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    name = type(data).__name__ if data is not None else "unknown"
    training = {"steps": trainer.global_step, "images_seen": module.images_seen, "seed": module.seed}
    return training_facts(name, training, trainer.callback_metrics, "last validation of the training") | code_version()


def training_facts(data: str, training: Mapping[str, Any], scores: Mapping[str, Any], measured: str) -> dict[str, Any]:
    """The part of a card that a training gives.

    Args:
        data: The data module's class name, or another name.
        training: Facts by name, as they are.
        scores: Values by name, of which those of validations are told, to four digits.
        measured: When, or on what, they were.
    """
    told = {"data": data.removesuffix("DataModule"), **training}
    if rounded := {k: float(f"{v:.4g}") for k, v in scores.items() if k.startswith("val/")}:
        told["scores"] = rounded
        told["protocol"] = f"{measured}; the scores' names say the extractor and the number of samples"
    return told
