"""Ends a training again and again, and compares its end with that of an uninterrupted one, bit for bit.

    python scripts/experiments/crash.py --ends 20 --out runs/crash
    python scripts/experiments/crash.py --way SIGTERM --processes 2 --ends 5 --out runs/crash_term

Every life is the same command with ``--ckpt_path last``, and goes on in the run's folder. The ways of ending are
signals, and ``error``: a batch that can't be read. Each comes at a random moment to a random process, or to all; every
other SIGKILL waits until the file that a checkpoint is written to is there. Exits with status 1 if the ends differ.
"""

import argparse
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from datamodules import DataModule
from lit_gen.cli.app import main as lit_gen
from lit_gen.files import check_archive, read_json
from lit_gen.pretrained.resume import last_checkpoint

OPTIONS = ["--config=gan_digits", "--checkpoint.every_n_steps=10", "--trainer.val_check_interval=500"]
COMPARED = ("state_dict", "optimizer_states", "lr_schedulers", "lit_gen", "loops", "global_step")
WAYS = ("SIGKILL", "SIGTERM", "SIGINT", "error")


def place(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torchrun would tell a process."""
    told: dict[str, Any] = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    told |= {"GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "crash"}
    return {key: str(value) for key, value in told.items()}


def fail_when_told() -> None:
    """Let no batch be read after SIGUSR1."""
    told: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: told.append(number))
    read = DataModule.on_after_batch_transfer

    def read_unless_told(self: DataModule, batch: Any, dataloader_idx: int) -> Any:
        if told and self.trainer.training:
            raise OSError("a batch that can't be read")
        return read(self, batch, dataloader_idx)

    DataModule.on_after_batch_transfer = read_unless_told  # type: ignore[method-assign]


def start(out: Path, name: str, options: list[str], processes: int) -> list[int]:
    """Start ``lit-gen fit`` in processes of their own, which have nothing left to import; their numbers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ["--trainer.default_root_dir", str(out), "--experiment", name, "--ckpt_path", "last"]
    own += ["--trainer.devices", str(processes), "--trainer.enable_progress_bar=false"]
    members = []
    for rank in range(processes):
        if pid := os.fork():
            members.append(pid)
            continue
        with open(out / f"{name}.log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        status: Any = 1
        try:
            torch.set_num_threads(1)
            fail_when_told()
            if processes > 1:
                os.environ.update(place(rank, processes, port))
                rank_zero_only.rank = rank  # type: ignore[attr-defined]
            lit_gen(["fit", *options, *own])
            status = 0
        except SystemExit as stop:
            status = stop.code
        finally:
            os._exit(status)
    return members


def end(members: list[int], folder: Path, way: str, writing: bool, delay: float, rng: random.Random) -> str:
    """End a life at the moment asked for; its statuses, in words.

    Raises:
        SystemExit: if it was over before.
    """
    while not any(read_json(path).get("process") == members[0] for path in folder.glob("*/run.json")):
        if os.waitpid(members[0], os.WNOHANG)[0]:
            sys.exit("a life has ended before it began")
        time.sleep(0.005)
    time.sleep(delay)
    deadline = time.monotonic() + 60
    while writing and time.monotonic() < deadline and not list(folder.glob("*/checkpoints/.last.ckpt.*")):
        pass
    number = signal.SIGUSR1 if way == "error" else signal.Signals[way]
    victims = rng.choice([[member] for member in members] + [members]) if len(members) > 1 else members
    for member in victims:
        os.kill(member, number)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(member, 0)[1]) for member in members]
    if not any(statuses):
        sys.exit("the run was over before it could be ended: give it more --steps")
    left = " while a checkpoint was written" if list(folder.glob("*/checkpoints/.*.tmp")) else ""
    return f"statuses {statuses}{left}"


def same(a: object, b: object) -> bool:
    """Equality of nested states, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def main(arguments: list[str] | None = None) -> None:
    """Run all lives, and tell what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, default="SIGKILL")
    parser.add_argument("--ends", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5000, help="batches of the whole run")
    parser.add_argument(
        "--delay", type=float, default=3.0, help="seconds, at most, from a life's first file to its end"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("runs/crash"), help="a new folder")
    given, options = parser.parse_known_args(arguments)
    options = [*(options or OPTIONS), f"--trainer.max_steps={given.steps}"]
    given.out.mkdir(parents=True)
    rng, folder, seen = random.Random(given.seed), given.out / "ended", Counter[str]()
    for i in range(given.ends):
        members = start(given.out, "ended", options, given.processes)
        writing = given.way == "SIGKILL" and i % 2 == 1
        found = end(members, folder, given.way, writing, rng.uniform(0, given.delay), rng)
        seen[found] += 1
        last = last_checkpoint(folder)
        if last is not None:
            check_archive(last)
        step = torch.load(last, weights_only=True)["global_step"] if last else "none"
        print(f"{given.way} {i + 1}: {found}; last.ckpt is whole, of step {step}", flush=True)
    for name in ("ended", "straight"):
        if any(os.waitpid(member, 0)[1] for member in start(given.out, name, options, given.processes)):
            sys.exit((given.out / f"{name}.log").read_text()[-2000:])
    ends, runs = [], len(list(folder.glob("*/run.json")))
    for name in ("ended", "straight"):
        path = last_checkpoint(given.out / name)
        assert path is not None
        ends.append(torch.load(path, weights_only=True))
    differing = [key for key in COMPARED if not same(*(each.get(key) for each in ends))]
    left = list(folder.glob("*/checkpoints/.*"))
    print(f"{given.way} with {given.processes} processes: {dict(seen)}; {runs} folders, {len(left)} unfinished files")
    print(f"after {ends[0]['global_step']} steps {', '.join(differing) or 'nothing'} differs")
    sys.exit(bool(differing or left))


if __name__ == "__main__":
    main()
