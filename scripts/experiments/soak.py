"""Trains on a tiny model for many batches and measures whether the memory grows.

    python scripts/experiments/soak.py --steps 10000

Prints the resident memory at every hundredth of the run and its slope over the second half, by least squares, in bytes
a batch and megabytes a million batches. Exits with status 1 if the slope is above ``--limit``.
"""

import argparse
import gc
import sys
import tempfile
from pathlib import Path

import lightning.pytorch as L
import numpy as np

from lit_gen.cli import app as cli

OPTIONS = [
    "--model=GAN", "--model.latent_dim=4", "--model.generator=MLPGenerator", "--model.generator.width=8",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=8", "--model.ema_half_life=1000",
    "--data=DigitsDataModule", "--data.batch_size=16", "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu", "--evaluate.num_samples=100", "--samples.num_samples=16",
    "--trainer.log_every_n_steps=10",
]  # fmt: skip


def resident() -> int:
    """Bytes of this process in memory."""
    return 1024 * int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmRSS")))


class Memory(L.Callback):
    """Resident memory at evenly spaced batches."""

    def __init__(self, every: int) -> None:
        self.every, self.measured = every, []

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Measure, when it is time."""
        if trainer.global_step % self.every == 0:
            gc.collect()
            self.measured.append((trainer.global_step, resident()))


def soak(steps: int, every: int, options: list[str]) -> list[tuple[int, int]]:
    """Batches and resident bytes of one run of the command line."""
    memory, own = Memory(every), cli.PredictionWriter
    cli.PredictionWriter = lambda: memory  # one of the callbacks that every run has
    try:
        with tempfile.TemporaryDirectory() as folder:
            intervals = [f"--trainer.val_check_interval={10 * every}", f"--checkpoint.every_n_steps={every}"]
            run = [*OPTIONS, *intervals, f"--trainer.max_steps={steps}", f"--trainer.default_root_dir={folder}"]
            cli.main(["fit", *run, *options])
    finally:
        cli.PredictionWriter = own
    return memory.measured


def slope(measured: list[tuple[int, int]]) -> float:
    """Bytes a batch over the second half."""
    batches, held = np.array(measured[len(measured) // 2 :], dtype=float).T
    return float(np.polyfit(batches, held, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--limit", type=float, default=100.0, help="bytes a batch")
    given, options = parser.parse_known_args()
    measured = soak(given.steps, given.steps // 100, options)
    for batch, held in measured[9::10]:
        print(f"{batch:8d} batches  {held / 1e6:8.1f} MB")
    grown = slope(measured)
    print(f"slope over the second half: {grown:.1f} bytes a batch, {grown:.0f} MB a million batches")
    sys.exit(grown > given.limit)


if __name__ == "__main__":
    main()
