"""The study of a sweep: Optuna draws trials, each runs in a process of its own, this one alone writes what is known."""

import contextlib
import json
import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lit_gen.cli.sweeping.space import Dimension

STUDY = "study.db"
HOPELESS = 3  # trials that all fail, the first ones: the rest would too
# Of a run that went well; the score of the untrained model doesn't count.
UNSCORED = "it ended before its first evaluation; one comes every --trainer.val_check_interval batches"


def require_optuna() -> Any:
    """The package.

    Raises:
        ValueError: if it is missing, with the command that installs it.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError("needs the package optuna: pip install 'lit-gen[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Sweep:
    """Trials of a study, from a file that other sweeps may share and later ones go on with.

    Args:
        folder: Of the experiment: the study's file, what trials print, and the runs are in it.
        space: What trials differ in.
        arguments: Of ``fit`` for all trials.
        mode: ``min`` or ``max``.
        configuration: The resolved options of all trials, which the study's other trials must have had.
        seed: Of the draws.
        prune: Whether trials that fall behind the median of earlier ones at the same step are ended.

    Raises:
        ValueError: if Optuna is missing, or the study there is of another space or configuration.
    """

    def __init__(
        self,
        folder: Path,
        space: Sequence[Dimension],
        arguments: Sequence[str],
        mode: str,
        configuration: dict[str, Any],
        seed: int = 0,
        prune: bool = True,
    ) -> None:
        self.optuna = optuna = require_optuna()
        self.folder, self.space, self.arguments, self.mode = folder, list(space), list(arguments), mode
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{(folder / STUDY).absolute()}"
        self.study = optuna.create_study(
            storage=storage,
            study_name="sweep",
            load_if_exists=True,
            direction="minimize" if mode == "min" else "maximize",
            pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
        )
        self._agree(configuration)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials), constant_liar=True)
        self._lock = threading.Lock()
        self._stopped = False
        self._children: list[Any] = []

    def run(self, trials: int, processes: int, tell: Callable[[str], None]) -> None:
        """Run trials until the study has so many, those of earlier sweeps counted.

        Args:
            trials: In all.
            processes: At once.
            tell: Takes a line for each trial that has ended.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once the running trials have saved and ended.
        """
        self._forget_killed(tell)
        usual = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _interrupt)
        with ThreadPoolExecutor(processes) as pool:
            workers = [pool.submit(self._work, trials, tell) for _ in range(processes)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                self._stopped = True
                for child in self._children:
                    with contextlib.suppress(ProcessLookupError, AttributeError):
                        os.kill(child.pid, signal.SIGTERM)  # it finishes its batch and saves
                raise
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, usual)

    def counted(self) -> list[Any]:
        """The trials that count: all but those whose sweep was ended before they were."""
        failed = self.optuna.trial.TrialState.FAIL
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != failed or "failed" in trial.user_attrs]

    def runs(self) -> list[Path]:
        """The folders of all trials' runs that are there."""
        folders = [Path(trial.user_attrs["folder"]) for trial in self.counted() if "folder" in trial.user_attrs]
        return [folder for folder in folders if folder.is_dir()]

    # ---- one trial after the other

    def _work(self, trials: int, tell: Callable[[str], None]) -> None:
        while not self._stopped:
            with self._lock:  # so that no two threads see room for the last trial
                counted = self.counted()
                if len(counted) >= trials:
                    return
                self._end_if_hopeless(counted)
                trial = self.study.ask()
                trial.set_user_attr("sweep", {"host": platform.node(), "process": os.getpid()})
            values = {dimension.option: dimension.draw(trial) for dimension in self.space}
            tell(self._train(trial, values))

    def _end_if_hopeless(self, counted: Sequence[Any]) -> None:
        failed = [trial for trial in counted if trial.state == self.optuna.trial.TrialState.FAIL]
        if len(failed) >= HOPELESS and len(failed) == sum(trial.state.is_finished() for trial in counted):
            self._stopped = True
            reason = failed[-1].user_attrs.get("failed")
            raise ValueError(f"the first {len(failed)} trials have all failed, the last one: {reason}")

    def _train(self, trial: Any, values: dict[str, str]) -> str:
        """Run a trial, tell the study of it, and say what became of it in one line."""
        output = self.folder / "output" / f"trial_{trial.number:04d}.txt"
        output.parent.mkdir(exist_ok=True)
        arguments = [*self.arguments, *(f"--{option}={value}" for option, value in values.items())]
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        child = context.Process(target=start, args=(theirs, arguments, str(output)))
        self._children.append(child)
        child.start()
        theirs.close()
        best, pruned = self._listen(trial, ours)
        child.join()
        self._children.remove(child)
        status = child.exitcode or 0
        told = f"trial {trial.number}: {' '.join(f'{option}={value}' for option, value in values.items())}"
        states = self.optuna.trial.TrialState
        if status == 0 and best is not None:
            trial.set_user_attr("score", best)
            self.study.tell(trial, state=states.PRUNED) if pruned else self.study.tell(trial, best)
            return f"{told}: {best:.4g}{', ended early' if pruned else ''}"
        if self._stopped or status in (130, 128 + signal.SIGTERM):
            self._stopped = True
            self.study.tell(trial, state=states.FAIL)
            return f"{told}: stopped"
        reason = last_error(output) if status > 0 else UNSCORED
        reason = f"killed by signal {-status}" if status < 0 else reason
        trial.set_user_attr("failed", reason)
        self.study.tell(trial, state=states.FAIL)
        return f"{told}: failed: {reason} (all it said: {output})"

    def _listen(self, trial: Any, connection: Any) -> tuple[float | None, bool]:
        """The best score of a trial's run, and whether it was ended before its time."""
        best, pruned = None, False
        with contextlib.suppress(EOFError, ConnectionError, OSError):  # the end of the process
            while True:
                kind, *content = connection.recv()
                if kind == "folder":
                    trial.set_user_attr("folder", content[0])
                    continue
                step, score, name = content
                trial.set_user_attr("monitor", name)
                better = best is None or (score < best if self.mode == "min" else score > best)
                best = score if better else best
                trial.report(score, step)
                pruned = pruned or trial.should_prune()
                connection.send("end" if pruned else "go on")
        connection.close()
        return best, pruned

    # ---- the study's file

    def _agree(self, configuration: dict[str, Any]) -> None:
        """See that the trials that are there already are trials of the same thing."""
        own = {f"space.{dimension.option}": dimension.as_text() for dimension in self.space}
        own = json.loads(json.dumps({**configuration, **own, "mode": self.mode}, default=str))
        before = self.study.user_attrs.get("configuration")
        if before is None:
            self.study.set_user_attr("configuration", own)
            return
        changed = [name for name in {**before, **own} if before.get(name) != own.get(name)]
        if changed:
            name = changed[0]
            raise ValueError(
                f"the study in {self.folder / STUDY} has {name}={before.get(name)}, and {own.get(name)} was given; "
                "another --experiment begins another study"
            )

    def _forget_killed(self, tell: Callable[[str], None]) -> None:
        """Trials whose sweep was killed will never end."""
        running = self.study.get_trials(deepcopy=False, states=[self.optuna.trial.TrialState.RUNNING])
        for trial in running:
            sweep = trial.user_attrs.get("sweep", {})
            if sweep.get("host") == platform.node() and not _alive(sweep.get("process", 0)):
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
                tell(f"trial {trial.number}: its sweep was killed; it is not counted")


def start(connection: Any, arguments: Sequence[str], output: str) -> None:
    """Run a trial in this process, the only one that imports torch."""
    from lit_gen.cli.sweeping.trial import run_trial

    run_trial(connection, arguments, output)


def last_error(output: Path) -> str:
    """What a training that failed has said last, in one line."""
    try:
        told = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        told = []
    errors = [line for line in told if line.startswith("lit-gen: error:")]
    last = (errors or told or ["it has said nothing"])[-1]
    return last.removeprefix("lit-gen: error: ").strip()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
