"""The trainer's options: defaults that depend on each other, those that these models take elsewhere, its loggers."""

import os
from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from lit_gen.cli.run_folder import is_run
from lit_gen.pretrained.specification import parameters

MAX_STEPS = 5000  # of a run that nothing else ends
VAL_CHECK_INTERVAL = 500  # training batches between two evaluations, unless they are counted in epochs
LAUNCHERS = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
# What the trainer can't do where a step has several players, and the end of the model's arguments that do it.
ELSEWHERE = {"accumulate_grad_batches": "accumulate", "gradient_clip_val": "clip_norm"}


def complete(trainer: Namespace) -> None:
    """Fill in how long a run is and how often it is evaluated, where no option says it in steps, epochs or hours."""
    if trainer.max_steps == -1 and trainer.max_epochs is None and trainer.max_time is None:
        trainer.max_steps = MAX_STEPS
    if trainer.val_check_interval is None and trainer.check_val_every_n_epoch is None:
        trainer.val_check_interval = VAL_CHECK_INTERVAL


def refuse_misplaced(trainer: Namespace, model: type) -> None:
    """Name the model's arguments that do what the trainer can't.

    Raises:
        ValueError: if it is asked of the trainer.
    """
    for name, ending in ELSEWHERE.items():
        value = trainer.get(name)
        if value in (None, 1 if ending == "accumulate" else None):
            continue
        own = sorted(f"--model.{argument}" for argument in parameters(model) if argument.endswith(ending))
        raise ValueError(
            f"trainer.{name}={value}: a step of these models has several updates, each with its own: "
            f"{', '.join(own) or f'{model.__name__} has none'}"
        )


def refuse_unlaunched(trainer: Namespace) -> None:
    """Refuse what would wait for processes that nobody starts.

    Raises:
        ValueError: for a strategy that starts processes by forking or pickling, or several nodes without a launcher.
    """
    strategy = trainer.strategy
    name = strategy if isinstance(strategy, str) else strategy.get("init_args", Namespace()).get("start_method") or ""
    if any(method in name for method in ("spawn", "fork", "notebook")):
        raise ValueError(
            f"trainer.strategy={name}: a run's processes are started as commands of their own; take "
            "--trainer.strategy ddp, torchrun or SLURM"
        )
    if int(trainer.num_nodes or 1) == 1:
        return
    known = any(kind.detect() for kind in LAUNCHERS) or os.environ.keys() & {"NODE_RANK", "GROUP_RANK", "LOCAL_RANK"}
    plugins = trainer.plugins if isinstance(trainer.plugins, list) else [trainer.plugins]
    own = any("Environment" in str(plugin) for plugin in plugins)
    if not known and not own:
        raise ValueError(
            f"trainer.num_nodes={trainer.num_nodes}: nothing has started this process as one of several nodes; start "
            "each by torchrun or SLURM (docs/devices.md), or set NODE_RANK, MASTER_ADDR and MASTER_PORT"
        )


def loggers_of(trainer: Namespace) -> Iterator[Namespace]:
    """The descriptions of the loggers beside metrics.csv."""
    given = trainer.logger
    yield from (logger for logger in (given if isinstance(given, list) else [given]) if hasattr(logger, "class_path"))


def place_logger(logger: Namespace, folder: Path, run: str | None, step: int | None = None) -> None:
    """Let a logger write to the run's folder, under the tracker's id of the run that goes on.

    From ``step`` on what the run has told before gives way, if a step is given.

    A folder of another run, which saved configurations of earlier versions hold, is not written to.
    """
    arguments = logger.get("init_args") or Namespace()
    if "save_dir" in arguments:
        of_another = arguments.save_dir not in (None, ".") and is_run(arguments.save_dir)
        if of_another and "id" in arguments:
            arguments.id = None
        if of_another or arguments.save_dir in (None, "."):
            arguments.save_dir = str(folder)
    if "id" in arguments and arguments.id is None:
        arguments.id = run
    if "purge_step" in arguments and arguments.purge_step is None:
        arguments.purge_step = step
