"""A whole `lit-gen fit`, start-up to the last checkpoint, beside another checkout's: `scripts/benchmark fit` calls it.

Each command in a process of its own and in a folder that is thrown away, in turns; processor seconds of all threads.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import interleaved

HERE = Path(__file__).parents[2]


def fitting(rounds: int, configs: list[str], beside: str | None, steps: int | None) -> None:
    """Print medians over the rounds of each config, and how many times as long the other checkout takes.

    Args:
        rounds: turns of each side.
        configs: names of shipped configs, which both have.
        beside: the other checkout, of an earlier commit for one; None for this one alone.
        steps: of each run; None for as many as the config says.
    """
    options = [] if steps is None else [f"--trainer.max_steps={steps}"]
    folders = {"here": HERE, **({} if beside is None else {"beside": Path(beside).resolve()})}
    for config in configs:
        sides = {name: partial(_seconds, folder, config, options) for name, folder in folders.items()}
        medians = {name: statistics.median(each) for name, each in interleaved(sides, rounds).items()}
        ratio = f", {medians['beside'] / medians['here']:.2f} times as long beside" if beside is not None else ""
        print(f"{config}: {', '.join(f'{s:.2f} s {name}' for name, s in medians.items())}{ratio}", flush=True)


def _seconds(checkout: Path, config: str, options: list[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "lit_gen", "fit", "--config", config, "--trainer.default_root_dir", runs]
        subprocess.run([*command, *options], env=environment, cwd=runs, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
