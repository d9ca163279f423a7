"""What the processes of a run tell each other beside their collectives, through the store by which they have met."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch.distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import _get_default_store

STORE_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True)
class Fault:
    """Why a run ends before its end.

    Attributes:
        rank: Of the process that has failed; None if nobody knows which.
        status: That all of them exit with.
        told_by: The process that tells the user.
    """

    rank: int | None
    status: int
    told_by: int


class PeerStore:
    """Facts of each process, in a connection of its own: that of the collectives may be waiting for an answer.

    Raises:
        RuntimeError: of every method, once the process that holds the store is gone.
    """

    def __init__(self) -> None:
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._server = _get_default_store()  # of the first process: it lasts longer than its collectives
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*place, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT)
        # torchrun's store outlives the processes, which it starts again.
        self._store = PrefixStore(f"lit_gen/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
        self._store.set(f"process/{self.rank}", json.dumps([_machine(), os.getpid()]))

    def claim(self, fault: Fault) -> Fault:
        """The fault of the run: this one, unless another came first."""
        return Fault(**json.loads(self._store.compare_set("fault", "", json.dumps(asdict(fault)))))

    def fault(self) -> Fault | None:
        """That was claimed."""
        return Fault(**json.loads(self._store.get("fault"))) if self._store.check(["fault"]) else None

    def tell_end(self) -> None:
        """Say that this process has nothing left to do."""
        self._store.set(f"end/{self.rank}", "1")

    def has_ended(self, rank: int) -> bool:
        """Whether a process has nothing left to do, or is gone."""
        return not self._is_alive(rank) or self._store.check([f"end/{rank}"])

    def gone(self) -> int | None:
        """A process of this machine that is gone without a word."""
        for rank in range(self.size):
            if not self._is_alive(rank) and not self._store.check([f"end/{rank}"]):
                return rank
        return None

    def on_one_machine(self) -> bool:
        """Whether this process sees all others."""
        keys = [f"process/{rank}" for rank in range(self.size)]
        known = [json.loads(self._store.get(key))[0] for key in keys if self._store.check([key])]
        return len(known) == self.size and set(known) == {_machine()}

    def _is_alive(self, rank: int) -> bool:
        """Whether a process runs, as far as this one can see."""
        if rank == self.rank or not self._store.check([f"process/{rank}"]):
            return True
        machine, number = json.loads(self._store.get(f"process/{rank}"))
        if machine != _machine():
            return True
        return _runs(number)


def _runs(process: int) -> bool:
    """Whether there is a process of this number that hasn't ended; one whose parent hasn't asked for it yet has."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or a system without /proc
        return True


def _machine() -> str:
    """Where a process's number means that process: the machine, and the namespace of a container on it."""
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{platform.node()} {namespace}"
