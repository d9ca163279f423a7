"""A run's folder: taken by one run alone, told to all its processes, marked with what it is and how it ended."""

import contextlib
import json
import os
import platform
import shutil
import uuid
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.files import hold, let_go, read_json, whole_file
from lit_gen.tracking.runs import CONFIG, MARK

LOCK = ".lock"  # held by the process that writes to the folder
TOLD = "LIT_GEN_RUN_FOLDER"  # by which the processes that a run starts learn its folder
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
End = Literal["finished", "stopped", "failed"]


class RunFolder:
    """The folder that one run writes to.

    The first process reserves it by making it, which the file system lets one of many do, on however many machines;
    the others are told its name. ``run.json`` in it says the command (``kind``), when and where it was started, and
    how it ended: ``finished``, ``stopped`` by a signal, or ``failed``; ``end`` is null while it runs, and for ever
    after a ``kill -9``. A run that goes on in its folder keeps there, as ``sessions``, what was said of it before.

    Args:
        path: The folder.
        kind: The command: ``fit``, ``validate``, ``test`` or ``predict``.
        made: The folders that were made for it, outermost first: all that :meth:`remove` may take away.

    Attributes:
        run: By which the run's checkpoints know it, wherever its folder is moved to.
    """

    def __init__(self, path: Path, kind: str, made: tuple[Path, ...] = ()) -> None:
        self.path, self.kind, self.made = path, kind, made
        self.run = uuid.uuid4().hex
        self._facts: dict[str, Any] = {}
        self._sessions: list[dict[str, Any]] = []
        self._before: dict[Path, bytes] = {}  # what :meth:`remove` brings back
        self._started = _now()
        self._lock: IO[bytes] | None = None

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
        folder._lock = hold(path / LOCK)
        folder.mark()
        return folder

    @classmethod
    def go_on(cls, path: Path, kind: str, **facts: Any) -> "RunFolder | None":
        """The folder of a run that goes on in it; None if another process writes to it.

        Args:
            path: The folder, with its ``run.json``.
            kind: The command.
            **facts: Of this session, for ``run.json``.
        """
        folder = cls(path, kind)
        folder._lock = hold(path / LOCK)
        if folder._lock is None:
            return None
        folder._before = {file: file.read_bytes() for file in (path / MARK, path / CONFIG) if file.is_file()}
        told = read_mark(path) or {}
        folder.run = told.pop("run", folder.run)
        folder._sessions = [*told.pop("sessions", []), {key: told[key] for key in told if key != "kind"}]
        folder._facts = facts
        folder.mark()
        return folder

    @classmethod
    def of_this_process(cls, parent: str | Path, kind: str, own: "RunFolder | None" = None) -> "RunFolder":
        """Reserved by the first process of a run, unless the run goes on in its ``own``; in the others what the first
        has told, as far as that is known by now.
        """
        if is_first_process():
            folder = own or cls.reserve(parent, kind)
            os.environ[TOLD] = str(folder.path)
            return folder
        return cls(Path(os.environ.get(TOLD, Path(parent) / "of_the_first_process")), kind)

    @property
    def cut_short(self) -> bool:
        """Whether a run goes on in it that had not come to its end."""
        return bool(self._sessions) and self._sessions[-1].get("end") != "finished"

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
        told = {"kind": self.kind, "end": end, **times, **place, **self._facts, **facts, "run": self.run}
        told |= {"sessions": self._sessions} if self._sessions else {}
        with whole_file(self.path / MARK) as file:
            file.write((json.dumps(told) + "\n").encode())

    def remove(self) -> None:
        """Take away what was made for this run, of the folders around it those that hold no other; bring back what a
        run that would have gone on said of itself before.
        """
        for path, content in self._before.items():
            with whole_file(path) as file:
                file.write(content)
        if self.path in self.made:
            shutil.rmtree(self.path, ignore_errors=True)
        for folder in reversed(self.made):
            if folder != self.path:  # whose name may be another run's by now, and that folder still empty
                with contextlib.suppress(OSError):
                    folder.rmdir()
        self.made = ()

    def close(self, end: End, step: int, keep: bool, **facts: Any) -> None:
        """Mark the end; take the folder away if it isn't to be kept, or nothing was written to it."""
        empty = {path.name for path in self.path.iterdir()} <= {MARK, LOCK}
        if (self.path in self.made and (empty or not keep)) or (self._sessions and not keep):
            self.remove()
        else:
            self.mark(end, step=step, **facts)

    def forget(self) -> None:
        """Tell no later run of this process of it, and let other processes go on in it."""
        if self._lock is not None:
            let_go(self.path / LOCK, self._lock)
            self._lock = None
        if os.environ.get(TOLD) == str(self.path):
            del os.environ[TOLD]


class Agree(L.Callback):
    """Tells the run's folder to all processes once they are joined."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before anything is written."""
        self.folder.agree(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep whose checkpoint it is."""
        checkpoint["run"] = self.folder.run


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
    return any((Path(folder) / name).is_file() for name in (MARK, CONFIG))


def read_mark(folder: str | Path) -> dict[str, Any] | None:
    """What ``run.json`` says; None if there is none, or it is nobody's."""
    return read_json(Path(folder) / MARK) or None


def _make(folder: Path) -> bool:
    """Whether the folder was made by this call."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
