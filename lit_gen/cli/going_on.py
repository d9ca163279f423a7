"""Whether a run that goes on does so in its own folder, and what is cut off there: one run, one curve."""

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.cli.run_folder import RunFolder, read_mark
from lit_gen.cli.source import Source
from lit_gen.cli.support import RUNS, rank_zero_note
from lit_gen.pretrained.resume import LAST
from lit_gen.pretrained.stored import checkpoint_config
from lit_gen.tracking.metrics_file import MetricsFile, cut_rows


class GoOn(L.Callback):
    """Cuts off what the run's files hold beyond the checkpoint from which it goes on, once that is loaded."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before the first row is written."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.go_on_from(trainer.global_step)
        for path in (self.folder.path / "histograms").glob("*.csv"):
            cut_rows(path, trainer.global_step + 1)  # that of this step may come again, and then gives way


def go_on(source: Source, root: str | Path | None, experiment: str | None, **facts: Any) -> RunFolder | None:
    """The folder of the run that a checkpoint belongs to, if it goes on there; else None. Says which, and why.

    Args:
        source: The checkpoint.
        root: ``trainer.default_root_dir``.
        experiment: ``--experiment``, if it was given.
        **facts: Of this session, for ``run.json``.
    """
    path, step = _folder(source), source.stored["global_step"]
    folder, reason = None, _elsewhere(source, path, Path(root or RUNS), experiment)
    if reason is None:
        folder = RunFolder.go_on(path, "fit", from_step=step, **facts)
        reason = f"another process writes to {path}"
    if folder is None:
        rank_zero_note(f"--ckpt_path {source.path}: the run goes on in a new folder: {reason}")
    else:
        rank_zero_note(f"going on in {path}, from step {step}")
    return folder


def experiment_of(folder: Path, root: str | Path | None) -> str:
    """The experiment's name of a run's folder, wherever that is."""
    around, below = folder.absolute().parent, Path(root or RUNS).absolute()
    return str(around.relative_to(below)) if around.is_relative_to(below) and around != below else around.name


def _folder(source: Source) -> Path:
    path = source.path.absolute().parent.parent
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _elsewhere(source: Source, folder: Path, root: Path, experiment: str | None) -> str | None:
    """Why a run can't go on in its own folder, or isn't to; None if it can."""
    mark, checkpoints = read_mark(folder), source.path.absolute().parent
    whole = checkpoints.name == "checkpoints" and mark is not None and mark.get("kind") == "fit"
    if mark is None or not whole or mark.get("run") != source.stored["run"]:
        return "the checkpoint does not lie in the folder of its run"
    if experiment is not None and (root / experiment).resolve() != folder.resolve().parent:
        return f"--experiment {experiment} asks for it"
    if root != Path(RUNS) and not folder.resolve().is_relative_to(root.resolve()):
        return f"--trainer.default_root_dir {root} asks for it"
    if not os.access(folder, os.W_OK):
        return f"{folder} can't be written to"
    try:
        trained = checkpoint_config(checkpoints / LAST)["global_step"]
    except (OSError, ValueError):  # damaged or gone
        return None
    if trained > source.stored["global_step"]:
        return f"{folder} holds what was trained up to step {trained}"
    return None
