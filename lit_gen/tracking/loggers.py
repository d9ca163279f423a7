"""Loggers beside metrics.csv: Weights & Biases that never asks, TensorBoard inside the run's folder."""

import importlib.util
import inspect
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

STEPS = "trainer/global_step"
# Where the client keeps logs, caches and artifacts that wait for their upload; by default in the home folder.
FOLDERS = {"WANDB_CACHE_DIR": "cache", "WANDB_DATA_DIR": "data", "WANDB_ARTIFACT_DIR": "artifacts"}
OFFLINE = ("offline", "dryrun", "disabled")


class WandbRun(WandbLogger):
    """A run of Weights & Biases, with all its files in the run's folder. Without an account it is kept offline.

    Args:
        project: Project on the server.
        mode: ``auto`` is ``WANDB_MODE`` if that is set, else online with an account and offline without one; ``online``
            without an account is an error, never a question.
        x_axis: What charts are drawn against unless the viewer chooses otherwise: ``trainer/global_step``,
            ``images_seen`` or a player's updates, e.g. ``updates/generator``.
        name: Name of the run; by default the last two parts of its folder, ``<experiment>/<time>``.
        entity: User or team; by default the account's own.
        group: Runs that belong together.
        tags: Words to find the run by.
        notes: A longer text.
        id: The run to go on with; ``lit-gen fit --ckpt_path`` takes it from the checkpoint.
        save_dir: The run's folder.
    """

    def __init__(
        self,
        project: str = "lit-gen",
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        x_axis: str = STEPS,
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        id: str | None = None,
        save_dir: str | None = None,
    ) -> None:
        folder = Path(save_dir or ".")
        if name is None and id is None:  # a resumed run has a name
            name = "/".join(folder.parts[-2:]) or None
        about: dict[str, Any] = {"entity": entity, "group": group, "tags": tags, "notes": notes}
        super().__init__(project=project, name=name, id=id, save_dir=str(folder), **about)
        del self._wandb_init["anonymous"]  # the client warns of it
        if id is None:
            del self._wandb_init["resume"]  # nothing to ask a server for
        self.mode, self.x_axis = mode, x_axis
        self._row = 0
        self._environment: dict[str, str | None] = {}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The client's run, begun at first use.

        Raises:
            ValueError: for ``mode=online`` without an account or a connection.
        """
        if self._experiment is not None:
            return self._experiment
        folder = Path(str(self.save_dir))
        (folder / "wandb").mkdir(parents=True, exist_ok=True)  # else the client falls back to a temporary folder
        self._environment = {name: os.environ.get(name) for name in FOLDERS}
        for name, part in FOLDERS.items():
            os.environ.setdefault(name, str((folder / "wandb" / part).absolute()))
        try:
            self._start()
        except ValueError:
            self.finish(failed=True)  # a later run of this process is no part of this folder
            raise
        run: Any = self._experiment
        if self.x_axis != STEPS:
            run.define_metric(self.x_axis)
            run.define_metric("*", step_metric=self.x_axis, step_sync=True)
        return run

    def _start(self) -> None:
        import wandb  # slow, and only for those who track

        try:
            self._begin(self._choose_mode())
        except wandb.errors.CommError as error:
            if self.mode == "online":
                raise ValueError(f"mode=online: no connection to Weights & Biases ({_first_line(error)})") from None
            self._begin(self._offline_because(f"no connection ({_first_line(error)})"))

    def _begin(self, mode: str | None) -> None:
        import wandb

        quiet = wandb.Settings(silent=mode == "offline", init_timeout=30)
        self._wandb_init.update(mode=mode, settings=quiet)
        WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]

    def _choose_mode(self) -> str | None:
        """None leaves it to the client's own settings."""
        import wandb

        if self.mode == "offline":
            return self._offline_because("mode=offline")
        if self.mode == "disabled":
            return self.mode
        if self.mode == "auto" and os.environ.get("WANDB_MODE", wandb.setup().settings.mode) in OFFLINE:
            return None
        if logged_in():
            return "online"
        if self.mode == "online":
            raise ValueError("mode=online: not logged in to Weights & Biases; `wandb login`, or take auto or offline")
        return self._offline_because("not logged in")

    def _offline_because(self, reason: str) -> str:
        runs = f"{self.save_dir}/wandb/offline-run-*"
        rank_zero_info(f"W&B: {reason}: the run is kept offline; `wandb sync {runs}` uploads it")
        return "offline"

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add to the row of this step: scores, pictures and histograms of one validation stand together.

        Rows are numbered by the training's step, so a resumed run's follow the first part's. Where the step goes back,
        as in a second training by the same logger, every call gets a row of its own.
        """
        if step is None:
            self.experiment.log(dict(metrics))
            return
        self._row = max(step, self._row) if step >= self._row - 1 else self._row + 1
        self.experiment.log({**metrics, STEPS: step}, step=self._row)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Add to the run's configuration, without the framework's own notes."""
        told = vars(params) if isinstance(params, Namespace) else dict(params)
        super().log_hyperparams({key: value for key, value in told.items() if not key.startswith("_")})

    def finish(self, failed: bool = False) -> None:
        """End the run: all is written and, online, uploaded."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=1 if failed else 0)
            self._experiment = None
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
        self._environment = {}


class TensorBoardRun(TensorBoardLogger):
    """TensorBoard's files in the run's folder: ``tensorboard --logdir runs`` shows all runs.

    Args:
        save_dir: The run's folder.
        purge_step: From which step on what an earlier part of the run has written is not shown; ``lit-gen fit
            --ckpt_path`` takes that of the checkpoint.

    Raises:
        ValueError: if the package tensorboard is missing.
    """

    def __init__(self, save_dir: str | None = None, purge_step: int | None = None) -> None:
        require_tensorboard()
        options: dict[str, Any] = {} if purge_step is None else {"purge_step": purge_step}
        super().__init__(save_dir or ".", name="tensorboard", version="", default_hp_metric=False, **options)


def require_tensorboard() -> None:
    """Refuse a logger that can't write.

    Raises:
        ValueError: if the package is missing.
    """
    if not any(importlib.util.find_spec(package) for package in ("tensorboard", "tensorboardX")):
        raise ValueError("logger=TensorBoard: needs the package tensorboard: pip install 'lit-gen[tensorboard]'")


def logged_in() -> bool:
    """Whether the W&B client knows an account; nobody is asked, and no network."""
    import wandb

    if "prompt" in inspect.signature(wandb.login).parameters:
        return wandb.login(prompt=False, verify=False)
    return wandb.api.api_key is not None  # older clients


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
