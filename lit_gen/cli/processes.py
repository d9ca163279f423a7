"""Processes that share a command's work: a group that torchrun has started, or one that the command starts itself."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.cli.mistakes import users_error

GRACE = 10.0  # seconds that processes have to end by themselves once one has failed

Result = TypeVar("Result")


class Processes:
    """This process among those that share the work.

    Args:
        rank: its number.
        world_size: number of processes.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size

    def in_step(self, work: Callable[[], Result]) -> Result:
        """What ``work()`` returns; where it fails in one process it fails in all, and none waits for the others.

        A collective.

        Raises:
            Exception: of this process, or a ValueError with the words of the first other one that failed.
        """
        if self.world_size == 1:
            return work()
        failed: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failed = error
        told: list[str | None] = [None] * self.world_size
        torch.distributed.all_gather_object(told, None if failed is None else f"{failed}")
        if failed is not None:
            raise failed
        if first := next((words for words in told if words is not None), None):
            raise ValueError(first)
        return result

    def agree(self, true: bool) -> bool:
        """Whether it is true in all processes. A collective."""
        if self.world_size == 1:
            return true
        told: list[bool] = [False] * self.world_size
        torch.distributed.all_gather_object(told, true)
        return all(told)


def started() -> int:
    """The number of processes in the group that torchrun, or `start`, has put this one into; 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def start(command: Sequence[str], count: int) -> int:
    """Run ``lit-gen`` with these arguments in several processes of this machine; the exit status.

    The first one prints. Its store is in this process, as torchrun's agent has it, so that no port is looked for.
    """
    store: Any = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    place.setdefault("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count))))
    members: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            environment = {**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            words = [sys.executable, "-m", "lit_gen", *command]
            quiet = None if rank == 0 else subprocess.DEVNULL
            members.append(subprocess.Popen(words, env=environment, stdout=quiet))
        return _wait(members)
    finally:
        for member in members:
            if member.poll() is None:
                member.kill()
            member.wait()


def _wait(members: list[subprocess.Popen[bytes]]) -> int:
    """The status of the first process that fails, or 0 when all have ended."""
    failed, since = 0, 0.0
    while [member for member in members if member.poll() is None]:  # all are looked at
        if not failed and (failed := next((member.returncode for member in members if member.returncode), 0)):
            since = time.monotonic()
        if failed and time.monotonic() - since > GRACE:
            break
        time.sleep(0.05)
    failed = failed or next((member.returncode for member in members if member.returncode), 0)
    return failed if failed >= 0 else 128 - failed


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """The group that this process was started in, or itself alone.

    Of a mistake of the user the first process tells; the others end with its status.

    Args:
        device: ``cpu``, or ``cuda`` for a GPU a process.
    """
    if started() == 1:
        yield Processes()
        return
    rank = int(os.environ["RANK"])
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl")
    try:
        yield Processes(rank, started())
    except Exception as error:
        if rank == 0 or users_error(error) is None:
            raise
        raise SystemExit(2) from None
    finally:
        torch.distributed.destroy_process_group()


def check_processes(processes: int, device: str) -> None:
    """Refuse a number of processes that the group or the GPUs don't have.

    Raises:
        ValueError: fewer than 1, another number than that of torchrun's group, or too few GPUs.
    """
    if processes < 1 or started() not in (1, processes):
        raise ValueError(f"--processes {processes}: at least 1; in a group that torchrun has started {started()}")
    if processes == 1 or device == "cpu":
        return
    if device != "cuda":
        raise ValueError(f"--device {device}: several processes run on cpu, or on a GPU each (--device cuda)")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if here > torch.cuda.device_count():
        raise ValueError(f"--device cuda: {here} processes and {torch.cuda.device_count()} GPUs; each takes one")


def own_device(device: str) -> str:
    """The device of this process: one of the machine's GPUs each."""
    return device if device != "cuda" or started() == 1 else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
