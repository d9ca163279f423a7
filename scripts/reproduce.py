"""Trains shipped configs to their end, each by its own command, and prints a table of what they reach.

    python scripts/reproduce.py                       # the digits configs, seed 0
    python scripts/reproduce.py --seeds 0 1 2 --configs wgan_gp_digits

For every run: the Fréchet distance to the validation images before the first step and after the last, and the share
of its value left; how many classes appear among 500 samples, by the shipped classifier, and that classifier's mean
largest probability; the wall time of the whole command, start-up and scoring included.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGS = ["gan_digits", "wgan_digits", "wgan_gp_digits", "vae_digits"]


def lit_gen(*arguments: str) -> float:
    """Run the command; its seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lit_gen", *arguments], check=True)
    return time.perf_counter() - start


def scores(folder: Path, name: str) -> list[float]:
    """The values of the first column of metrics.csv whose name begins with ``name``, in order."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    column = next(column for column in rows[0] if column.startswith(name))
    return [float(row[column]) for row in rows if row[column]]


def reproduce(config: str, seed: int, root: Path) -> str:
    """Train and test one config; a row of the table."""
    options = [f"--seed_everything={seed}", f"--trainer.default_root_dir={root}"]
    seconds = lit_gen("fit", "--config", config, f"--experiment=fit-{config}-{seed}", *options)
    (run,) = (root / f"fit-{config}-{seed}").iterdir()
    checkpoint = run / "checkpoints" / "last.ckpt"
    test = [f"--ckpt_path={checkpoint}", f"--experiment=test-{config}-{seed}", "--evaluate.num_samples=500", *options]
    lit_gen("test", *test)
    (tested,) = (root / f"test-{config}-{seed}").iterdir()
    distance = scores(run, "val/fd_")
    classes, probability = (scores(tested, f"test/{name}")[-1] for name in ("classes_", "top_probability_"))
    cells = [config, str(seed), f"{distance[0]:.0f}", f"{distance[-1]:.1f}", f"1/{distance[0] / distance[-1]:.0f}"]
    return " | ".join(["", *cells, f"{classes:.0f}", f"{probability:.3f}", f"{seconds:.0f} s", ""]).strip()


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=CONFIGS, help="names of shipped configs with a classifier")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--root", type=Path, help="keep the runs in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.root or Path(temporary)
        rows = [reproduce(config, seed, root) for config in arguments.configs for seed in arguments.seeds]
    columns = ["config", "seed", "FD at step 0", "FD at the end", "ratio", "classes of 10", "top probability", "time"]
    print("", *columns, "", sep=" | ")
    print("|" + "---|" * len(columns))
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
