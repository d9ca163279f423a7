"""The trainer's options: defaults that depend on each other, those that these models take elsewhere, its loggers."""

from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace

from lit_gen.cli.run_folder import is_run
from lit_gen.pretrained.specification import parameters

MAX_STEPS = 5000  # of a run that nothing else ends
VAL_CHECK_INTERVAL = 500  # training batches between two evaluations, unless they are counted in epochs
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


def loggers_of(trainer: Namespace) -> Iterator[Namespace]:
    """The descriptions of the loggers beside metrics.csv."""
    given = trainer.logger
    yield from (logger for logger in (given if isinstance(given, list) else [given]) if hasattr(logger, "class_path"))


def place_logger(logger: Namespace, folder: Path, run: str | None) -> None:
    """Let a logger write to the run's folder, under the tracker's id of the run that goes on.

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
