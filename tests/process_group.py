"""Groups of CPU processes, forked from one server that has imported the library once: imports cost more than training.

Every process finds the environment that torchrun would give it.
"""

import io
import multiprocessing
import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["lit_gen.cli.app", "sklearn.datasets", "pytest"]
)  # no modules of tests/: not on its path


def in_group(
    processes: int, function: Callable[..., Any], *arguments: Any, nodes: int = 1, timeout: float = 900
) -> Any:
    """What ``function(*arguments)``, of an importable module, returns in each process of a group of one or more nodes.

    Raises:
        AssertionError: with the traceback of the first process that fails, or if they take longer than ``timeout`` s.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    members, connections = [], []
    for rank in range(processes):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        place = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes // nodes}
        place |= {"GROUP_RANK": rank // (processes // nodes), "LOCAL_RANK": rank % (processes // nodes)}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        member = CONTEXT.Process(target=_member, args=(sender, place, function, arguments), daemon=True)
        member.start()
        sender.close()
        members.append(member)
        connections.append(receiver)
    results: dict[int, Any] = {}
    end = time.monotonic() + timeout
    try:
        while len(results) < processes:
            ready = wait([c for i, c in enumerate(connections) if i not in results], end - time.monotonic())
            assert ready, f"processes {sorted(set(range(processes)) - set(results))} don't end"
            for connection in ready:
                assert isinstance(connection, Connection)
                whole, content = connection.recv()
                assert whole, content
                results[connections.index(connection)] = torch.load(io.BytesIO(content))
    finally:
        for member in members:
            member.kill() if len(results) < processes else member.join()
    return [results[rank] for rank in range(processes)]


def _member(sender: Connection, place: dict[str, Any], function: Callable[..., Any], arguments: tuple) -> None:
    os.environ.update({key: str(value) for key, value in place.items()})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.argv = ["test"]
    try:
        content = io.BytesIO()
        torch.save(function(*arguments), content)
        sender.send((True, content.getvalue()))
    except BaseException:
        sender.send((False, traceback.format_exc()))
