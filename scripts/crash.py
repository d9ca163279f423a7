"""Kills a training again and again, and compares its end with that of an uninterrupted one, bit for bit.

    python scripts/crash.py --kills 20 --out runs/crash

Every life is the same command, with ``--ckpt_path last``. Every other kill waits for the file that a checkpoint is
written to and falls while it is open, the others come at a random moment. Exits with status 1 if the ends differ.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from lit_gen.files import check_archive
from lit_gen.resume import last_checkpoint


def command(out: Path, name: str, steps: int, options: list[str]) -> list[str]:
    run = [sys.executable, "-m", "lit_gen", "fit", *options, "--trainer.default_root_dir", str(out)]
    run += ["--experiment", name, "--ckpt_path", "last"]
    return [*run, f"--trainer.max_steps={steps}", "--trainer.enable_progress_bar=false"]


def killed(run: list[str], folder: Path, writing: bool, rng: random.Random) -> bool:
    """Run until the kill. True if it fell into the writing of a checkpoint; an error if the run was over before."""
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    old = set(folder.glob("*"))
    try:
        while not set(folder.glob("*/metrics.csv")) - {path / "metrics.csv" for path in old}:
            time.sleep(0.01)
            if process.poll() is not None:
                raise SystemExit(f"the run ended with status {process.returncode} before it could be killed")
        time.sleep(rng.uniform(0, 1.5))
        (new,) = set(folder.glob("*")) - old
        while writing and process.poll() is None and not list(new.glob("checkpoints/.last.ckpt.*.tmp")):
            pass
        process.kill()
        if process.wait() != -signal.SIGKILL:
            raise SystemExit("the run was over before it could be killed: give it more --steps")
        return bool(list(new.glob("checkpoints/.*.tmp")))
    finally:
        process.kill()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3000, help="batches of the whole run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("runs/crash"), help="a new folder")
    given, options = parser.parse_known_args(arguments)
    options = options or ["--config", "gan_digits", "--checkpoint.every_n_steps=10", "--trainer.val_check_interval=500"]
    if given.out.exists():
        parser.error(f"--out {given.out}: exists already")
    rng, writes = random.Random(given.seed), 0
    for i in range(given.kills):
        folder = given.out / "killed"
        in_write = killed(command(given.out, "killed", given.steps, options), folder, i % 2 == 0, rng)
        writes += in_write
        last = last_checkpoint(folder)
        if last is not None:
            check_archive(last)
        step = torch.load(last, weights_only=True)["global_step"] if last else 0
        print(f"kill {i + 1}: {'while a checkpoint was written' if in_write else 'between'}; last is of step {step}")
    for name in ("killed", "straight"):
        subprocess.run(command(given.out, name, given.steps, options), check=True, stdout=subprocess.DEVNULL)
    ends = [torch.load(last_checkpoint(given.out / name), weights_only=True) for name in ("killed", "straight")]
    differing = [k for k in ("state_dict", "optimizer_states", "lr_schedulers", "lit_gen", "global_step") if not
                 same(*(end.get(k) for end in ends))]  # fmt: skip
    left = list(given.out.glob("killed/*/checkpoints/.*.tmp"))
    print(f"{given.kills} kills, {writes} in the writing of a checkpoint; {len(left)} unfinished files left; "
          f"after {ends[0]['global_step']} steps {', '.join(differing) or 'nothing'} differs")  # fmt: skip
    sys.exit(bool(differing or left))


def same(a: object, b: object) -> bool:
    """Equality of nested states, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return a == b


if __name__ == "__main__":
    main()
