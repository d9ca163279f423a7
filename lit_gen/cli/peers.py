"""Several processes of a run end like one: one message, one status, and nobody waits for a process that is gone."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from lit_gen.cli.peer_store import Fault, PeerStore
from lit_gen.cli.run_folder import TOLD
from lit_gen.training.processes import is_lost

INTERVAL = 0.5  # seconds between two looks at the others
GRACE = 10.0  # seconds in which a process that is gone is found, and a child ends
PATIENCE = 60.0  # seconds for a process that fails to come to its end, and for the first one's trackers


class Launcher(_SubprocessScriptLauncher):
    """Lightning's, which leaves it to `Peers` to end processes: they may still be finishing their trackers."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes of this node, then run. Lightning's kills this process when one of them fails."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)

    def kill(self, signum: int) -> None:
        """End nobody: others learn of the end by their own signal, from the collectives or from the store."""


class Meeting(L.Callback):
    """Has the processes meet before any work, in which one may be gone before a thread has looked for it."""

    def __init__(self, meet: Callable[[], object]) -> None:
        self._meet = meet

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The processes have been joined by now."""
        self._meet()


class Peers:
    """What the processes of a run know of each other.

    The first that fails claims the fault, and tells the user; the others end in silence, with its status. Where a
    process is killed, one that sees it tells. A thread looks at the others twice a second, and ends this process if
    its main thread doesn't within a minute of another's fault, as in a message that nobody answers.

    Args:
        close: What the first process does at the end; told the status.
        advice: How the user can go on, of a run whose process is gone.
    """

    def __init__(self, close: Callable[[int], None], advice: Callable[[], str]) -> None:
        self._close, self._advice = close, advice
        self._store: PeerStore | None = None
        self._meeting = threading.Lock()
        self._launcher: Any = None
        self._parent = os.getppid() if TOLD in os.environ and os.environ.get("LOCAL_RANK", "0") != "0" else None
        self._over = threading.Event()  # the main thread comes to its end by itself
        self._since: float | None = None  # when another's fault was seen

    def watch(self, trainer: L.Trainer) -> None:
        """Look at the others from now on, if there are any."""
        launcher = trainer.strategy.launcher
        if trainer.world_size == 1:
            return
        if type(launcher) is _SubprocessScriptLauncher:
            launcher = Launcher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
            trainer.strategy._launcher = launcher
        self._launcher = launcher
        trainer.callbacks.insert(0, Meeting(self._meet))  # type: ignore[attr-defined]
        threading.Thread(target=self._watch, daemon=True, name="peers").start()

    def settle(self, error: BaseException, status: int) -> int | None:
        """The status of another process's fault, of which this error is a consequence; None for one of its own.

        Args:
            error: What ends this process.
            status: With which it would exit.
        """
        self._over.set()
        if not self._meet():
            return None
        assert self._store is not None
        lost = is_lost(error)
        try:
            fault = self._whose_fault() if lost else None
            fault = fault or self._store.claim(Fault(self._store.rank, status, self._store.rank))
            _wake_others()
        except RuntimeError:
            return self._without_store().status if lost else None
        return None if fault.rank == self._store.rank else fault.status

    def end(self) -> None:
        """The end of this process: the others wait until the first has ended, and it until they have seen that."""
        self._over.set()
        if self._store is not None:
            with suppress(RuntimeError):
                if self._store.rank == 0:
                    self._store.tell_end()
                    self._wait_for(range(1, self._store.size))
                else:
                    self._wait_for([0])
                    self._store.tell_end()
        self._end_children()

    def _wait_for(self, ranks: Iterable[int]) -> None:
        """Wait, so long, for processes that end; a launcher may kill all others when one has gone."""
        assert self._store is not None
        deadline = time.monotonic() + PATIENCE
        while not all(map(self._store.has_ended, ranks)) and time.monotonic() < deadline:
            time.sleep(INTERVAL / 10)

    def _meet(self) -> bool:
        """Find the others in the store, once the framework has joined the processes."""
        with self._meeting, suppress(RuntimeError):
            if self._store is None and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
                self._store = PeerStore()
        return self._store is not None

    @property
    def _children(self) -> list[Popen[bytes]]:
        """The processes that this one has started."""
        return getattr(self._launcher, "procs", [])

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            fault = self._look()
            if fault is None:
                continue
            self._since = self._since or time.monotonic()
            joined = torch.distributed.is_initialized()  # else the main thread waits for processes that never come
            if not joined or time.monotonic() - self._since > PATIENCE:
                self._leave(fault)

    def _look(self) -> Fault | None:
        """The fault of another process."""
        failed = next((child.returncode for child in self._children if child.poll()), None)
        if not self._meet():
            if self._parent is not None and os.getppid() != self._parent:
                return Fault(0, 1, 0)
            return None if failed is None else self._of_child(failed)
        assert self._store is not None
        try:
            fault = self._store.fault()
            if fault is None and (gone := self._store.gone()) is not None:
                fault = Fault(gone, 1, self._store.rank)  # told once this process has saved, or doesn't come to it
        except RuntimeError:
            return None if self._over.is_set() else self._without_store()
        return None if fault is None or fault.rank == self._store.rank else fault

    def _of_child(self, status: int) -> Fault:
        """Of a child that has ended before the processes have met; it has told why, unless it was killed."""
        if status < 0 and self._since is None:
            self._print("a process")
        return Fault(None, max(status, 1), 0)

    def _whose_fault(self) -> Fault | None:
        """Whose fault it is that another doesn't answer; None if nobody is gone."""
        assert self._store is not None
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            if (fault := self._store.fault()) is not None:
                return fault
            if (gone := self._store.gone()) is not None:
                return self._tell(gone)
            time.sleep(INTERVAL / 10)
        return None if self._store.on_one_machine() else self._tell(None)

    def _tell(self, gone: int | None) -> Fault:
        """Claim that a process is gone; tell it, unless another process does or there is an earlier fault."""
        assert self._store is not None
        own = Fault(gone, 1, self._store.rank)
        fault = self._store.claim(own)
        if fault == own:
            self._print("a process on another machine" if gone is None else f"process {gone} of {self._store.size}")
        return fault

    def _without_store(self) -> Fault:
        """The first process is gone, and the store with it."""
        assert self._store is not None
        if self._store.rank == 1 and self._since is None:
            self._print(f"process 0 of {self._store.size}")
        self._since = self._since or time.monotonic()
        return Fault(0, 1, 1)

    def _print(self, which: str) -> None:
        sys.stderr.write(f"lit-gen: error: {which} is gone, killed or out of memory; {self._advice()}\n")
        sys.stderr.flush()

    def _leave(self, fault: Fault) -> None:
        """End the process from this thread."""
        with suppress(RuntimeError):
            if self._store is not None and self._store.fault() is None:
                fault = self._tell(fault.rank)
        with suppress(Exception):
            self._close(fault.status)
        with suppress(Exception):
            self.end()
        sys.stderr.flush()
        os._exit(fault.status)

    def _end_children(self) -> None:
        """Wait for the processes that this one has started; kill those that don't end."""
        deadline = time.monotonic() + GRACE
        while any(child.poll() is None for child in self._children) and time.monotonic() < deadline:
            time.sleep(INTERVAL / 10)
        for child in self._children:
            child.kill()  # of no effect on one that has ended


@contextmanager
def ended_by_sigterm(trainer: L.Trainer) -> Iterator[None]:
    """SIGTERM ends the run at once, with the conventional status, where no callback has taken it over.

    Lightning's own handler sends a message to all processes, which may be in the middle of another, and it would wait
    for the end of a prediction.
    """

    def end_at_once(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGTERM, end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


def _wake_others() -> None:
    """Let go of the collectives, so that who waits in one gets an error."""
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":  # NCCL's end waits for all
        torch.distributed.destroy_process_group()
