"""A run's folder: taken by one run alone, told to all its processes, marked with what it is and how it ended."""

import contextlib
import json
import os
import platform
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.files import whole_file
from lit_gen.tracking.runs import MARK

TOLD = "LIT_GEN_RUN_FOLDER"  # by which the processes that a run starts learn its folder
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
End = Literal["finished", "stopped", "failed"]


class RunFolder:
    """The folder that one run writes to.

    The first process reserves it by making it, which the file system lets one of many do, on however many machines;
    the others are told its name. ``run.json`` in it says the command (``kind``), when and where it was started, and
    how it ended: ``finished``, ``stopped`` by a signal, or ``failed``; ``end`` is null while it runs, and for ever
    after a ``kill -9``.

    Args:
        path: The folder.
        kind: The command: ``fit``, ``validate``, ``test`` or ``predict``.
        made: The folders that were made for it, outermost first: all that :meth:`remove` may take away.
    """

    def __init__(self, path: Path, kind: str, made: tuple[Path, ...] = ()) -> None:
        self.path, self.kind, self.made = path, kind, made
        self._started = _now()

    @classmethod
    def reserve(cls, parent: str | Path, kind: str, name: str | None = None) -> "RunFolder":
        """A new folder below ``parent``, named by the time of day; ``.2``, ``.3``, … after names that are taken.

        Args:
            parent: The experiment's folder.
            kind: The command.
            name: In the place of the time.
        """
        name = name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        parent, made, number = Path(parent), [], 1
        while True:
            made += [folder for folder in [*reversed(parent.parents), parent] if _make(folder)]
            path = parent / (name if number == 1 else f"{name}.{number}")
            try:
                if _make(path):
                    break
                number += 1
            except FileNotFoundError:  # another run has just removed its own folder, and with it the one around both
                continue
        folder = cls(path, kind, (*dict.fromkeys(made), path))
        folder.mark()
        return folder

    @classmethod
    def of_this_process(cls, parent: str | Path, kind: str) -> "RunFolder":
        """Reserved by the first process of a run; in the others what it has told, as far as that is known by now."""
        if is_first_process():
            folder = cls.reserve(parent, kind)
            os.environ[TOLD] = str(folder.path)
            return folder
        return cls(Path(os.environ.get(TOLD, Path(parent) / "of_the_first_process")), kind)

    def agree(self, trainer: L.Trainer) -> None:
        """Take the first process's folder, wherever it runs. A collective."""
        path = Path(trainer.strategy.broadcast(str(self.path)))
        if path != self.path:
            self.remove()
            self.path, self.made = path, ()

    def mark(self, end: End | None = None, **facts: Any) -> None:
        """Write ``run.json``.

        Args:
            end: How the run ended; None while it runs.
            **facts: Further plain values, such as the step.
        """
        times = {"started": self._started, **({"ended": _now()} if end else {})}
        place = {"host": platform.node(), "process": os.getpid()}
        with whole_file(self.path / MARK) as file:
            file.write((json.dumps({"kind": self.kind, "end": end, **times, **place, **facts}) + "\n").encode())

    def remove(self) -> None:
        """Take away what was made for this run, of the folders around it those that hold no other."""
        if self.path in self.made:
            shutil.rmtree(self.path, ignore_errors=True)
        for folder in reversed(self.made):
            if folder != self.path:  # whose name may be another run's by now, and that folder still empty
                with contextlib.suppress(OSError):
                    folder.rmdir()
        self.made = ()

    def close(self, end: End, step: int, keep: bool) -> None:
        """Mark the end; take the folder away if it isn't to be kept, or nothing was written to it."""
        empty = [path.name for path in self.path.iterdir()] == [MARK]
        if self.path in self.made and (empty or not keep):
            self.remove()
        else:
            self.mark(end, step=step)

    def forget(self) -> None:
        """Tell no later run of this process of it."""
        if os.environ.get(TOLD) == str(self.path):
            del os.environ[TOLD]


class Agree(L.Callback):
    """Tells the run's folder to all processes once they are joined."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before anything is written."""
        self.folder.agree(trainer)


def is_first_process() -> bool:
    """Whether this is the process that reserves: by what a launcher has set before processes are joined."""
    ranks = [os.environ.get(name, "0") for name in RANKS]
    return not (getattr(rank_zero_only, "rank", 0) or any(rank.isdigit() and int(rank) for rank in ranks))


def check_experiment(name: str) -> str:
    """The name of an experiment, if it is a folder below the one for all runs.

    Raises:
        ValueError: if it leads out of it.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise ValueError(f"--experiment {name}: a name for a folder below trainer.default_root_dir, such as a or a/b")
    return name


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a run's, of this version or an earlier one."""
    return any((Path(folder) / name).is_file() for name in (MARK, "config.yaml"))


def _make(folder: Path) -> bool:
    """Whether the folder was made by this call."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
