"""Trains configs for the same processor time each and scores them alike, as a table.

    python scripts/experiments/equal_time.py --configs dcgan_mnist wgan_gp_mnist --minutes 12 --samples 10000 \\
        --trainer.precision bf16-mixed --model.generator.init_args.width 32 --model.discriminator.init_args.width 32

Options that this script doesn't know go to both `lit-gen fit`. Every run is a process of its own, which is told to stop
(Ctrl-C) when its processor time, start-up included, is used up; there are no evaluations before. Then `lit-gen test`
compares `--samples` samples with the test images.
"""

import argparse
import csv
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import torch

from lit_gen.cli.app import main as lit_gen
from lit_gen.pictures import image_grid, save_png
from lit_gen.pretrained import from_pretrained


def train(minutes: float, arguments: list[str]) -> None:
    """`lit-gen fit` that gets Ctrl-C after so many minutes of its processor time."""

    def watch() -> None:
        while time.process_time() < 60 * minutes:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    lit_gen(["fit", *arguments])


def apart(function: object, *arguments: object) -> float:
    """Call in a new process; its wall time in seconds."""
    start = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    return time.perf_counter() - start


def compare(config: str, minutes: float, samples: int, seed: int, root: Path, options: list[str]) -> str:
    """Train and test one config; a row of the table."""
    place = [f"--seed_everything={seed}", f"--trainer.default_root_dir={root}"]
    quiet = [
        "--trainer.max_steps=-1",
        "--trainer.max_epochs=-1",
        "--trainer.limit_val_batches=0",
        "--evaluate.at_start=false",
    ]
    quiet += ["--checkpoint.monitor=null", f"--experiment=fit-{config}-{seed}"]
    seconds = apart(train, minutes, ["--config", config, *place, *quiet, *options])
    (run,) = (root / f"fit-{config}-{seed}").iterdir()
    checkpoint = run / "checkpoints" / "last.ckpt"
    test = [f"--ckpt_path={checkpoint}", *place, f"--experiment=test-{config}-{seed}"]
    apart(lit_gen, ["test", *test, f"--evaluate.num_samples={samples}"])
    (tested,) = (root / f"test-{config}-{seed}").iterdir()
    with (tested / "metrics.csv").open() as file:
        scores = {name: value for row in csv.DictReader(file) for name, value in row.items() if value}
    distance = next(name for name in scores if name.startswith("test/fd_"))
    model = from_pretrained(checkpoint)
    save_png(root / f"{config}-{seed}.png", image_grid(model.sample(64, generator=torch.Generator().manual_seed(0))))
    counts = torch.load(checkpoint, weights_only=True)["lit_gen"]["updates"]
    updates = " + ".join(f"{count:,}" for count in counts.values())
    cells = [config, str(seed), updates, distance, f"{float(scores[distance]):.1f}", f"{seconds:.0f} s"]
    return " | ".join(["", *cells, ""]).strip()


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["dcgan_mnist", "wgan_gp_mnist"], help="of GANs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=12.0, help="of processor time for each run")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--root", type=Path, help="keep the runs and a picture of each in this folder")
    arguments, options = parser.parse_known_args()
    columns = ["config", "seed", "updates of D + G", "score", "value", "wall time"]
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.root or Path(temporary)
        runs = [(config, seed) for seed in arguments.seeds for config in arguments.configs]
        rows = [compare(config, arguments.minutes, arguments.samples, seed, root, options) for config, seed in runs]
    print("", *columns, "", sep=" | ")
    print("|" + "---|" * len(columns))
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
