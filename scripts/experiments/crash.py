"""Kills a training again and again, and compares its end with that of an uninterrupted one, bit for bit.

    python scripts/experiments/crash.py --kills 20 --out runs/crash

Every life is the same command with ``--ckpt_path last``. Every other kill waits until the file that a checkpoint is
written to is there, the others come at a random moment. Exits with status 1 if the ends differ.
"""

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lit_gen.cli.app import main as lit_gen
from lit_gen.files import check_archive
from lit_gen.pretrained.resume import last_checkpoint

OPTIONS = ["--config=gan_digits", "--checkpoint.every_n_steps=10", "--trainer.val_check_interval=500"]
COMPARED = ("state_dict", "optimizer_states", "lr_schedulers", "lit_gen", "loops", "global_step")


def start(out: Path, name: str, options: list[str]) -> int:
    """Start ``lit-gen fit`` in a process of its own, which has nothing left to import; its number."""
    pid = os.fork()
    if pid:
        return pid
    with open(out / f"{name}.log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    status = 1
    try:
        own = [
            "--trainer.default_root_dir",
            str(out),
            "--experiment",
            name,
            "--ckpt_path",
            "last",
            "--new_folder",
            "true",
        ]
        lit_gen(["fit", *options, *own, "--trainer.enable_progress_bar=false"])
        status = 0
    finally:
        os._exit(status)


def kill(pid: int, folder: Path, writing: bool, delay: float) -> bool:
    """Kill at the moment asked for. True if a checkpoint was being written."""
    old = set(folder.glob("*"))
    while not (new := set(folder.glob("*")) - old):
        time.sleep(0.005)
    (run,) = new
    time.sleep(delay)
    deadline = time.monotonic() + 60
    while writing and time.monotonic() < deadline and not list(run.glob("checkpoints/.last.ckpt.*")):
        pass
    os.kill(pid, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
        sys.exit("the run was over before it could be killed: give it more --steps")
    return bool(list(run.glob("checkpoints/.*.tmp")))


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5000, help="batches of the whole run")
    parser.add_argument(
        "--delay", type=float, default=3.0, help="seconds, at most, from a run's first file to its kill"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("runs/crash"), help="a new folder")
    given, options = parser.parse_known_args(arguments)
    options = [*(options or OPTIONS), f"--trainer.max_steps={given.steps}"]
    given.out.mkdir(parents=True)
    rng, folder, writes = random.Random(given.seed), given.out / "killed", 0
    for i in range(given.kills):
        writing = kill(start(given.out, "killed", options), folder, i % 2 == 1, rng.uniform(0, given.delay))
        writes += writing
        last = last_checkpoint(folder)
        if last is not None:
            check_archive(last)
        step = torch.load(last, weights_only=True)["global_step"] if last else "none"
        print(
            f"kill {i + 1}{' while a checkpoint was written' if writing else ''}: last.ckpt is whole, of step {step}",
            flush=True,
        )
    for name in ("killed", "straight"):
        if os.waitpid(start(given.out, name, options), 0)[1]:
            sys.exit((given.out / f"{name}.log").read_text()[-2000:])
    ends = []
    for name in ("killed", "straight"):
        path = last_checkpoint(given.out / name)
        assert path is not None
        ends.append(torch.load(path, weights_only=True))
    differing = [key for key in COMPARED if not same(*(end.get(key) for end in ends))]
    left = list(folder.glob("*/checkpoints/.*"))
    print(f"{given.kills} kills, {writes} of them while a checkpoint was written; {len(left)} unfinished files left; "
          f"after {ends[0]['global_step']} steps {', '.join(differing) or 'nothing'} differs")  # fmt: skip
    sys.exit(bool(differing or left))


if __name__ == "__main__":
    main()
