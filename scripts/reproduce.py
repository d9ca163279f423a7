"""Trains shipped configs to their end, each by its own command, and prints a table of what they reach.

    python scripts/reproduce.py                       # the digits configs, seed 0
    python scripts/reproduce.py --seeds 0 1 2 --configs wgan_gp_digits
    python scripts/reproduce.py --table likelihood    # VAE, IWAE and conditional VAE on MNIST

``scores``: the Fréchet distance to the validation images before the first step and after the last, and the share of its
value left; how many classes appear among 500 samples, by the shipped classifier, and that classifier's mean largest
probability. ``likelihood``: of the test images, the negative ELBO and −log p(x) by importance sampling, in nats, the
effective number of the importance samples, and the active units. Both: the wall time of the whole training command,
start-up and scoring included.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

SCORES = ["config", "seed", "FD at step 0", "FD at the end", "ratio", "classes of 10", "top probability", "time"]
DIGITS = ["gan_digits", "wgan_digits", "wgan_gp_digits", "vae_digits"]
LIKELIHOOD = ["config", "seed", "negative ELBO", "NLL", "effective samples", "active units", "time"]
MNIST = ["vae_mnist", "iwae_mnist", "cvae_mnist"]


def lit_gen(*arguments: str) -> float:
    """Run the command; its seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lit_gen", *arguments], check=True)
    return time.perf_counter() - start


def column(folder: Path, name: str) -> list[float]:
    """The values of the first column of metrics.csv whose name begins with ``name``, in order."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = next(column for column in rows[0] if column.startswith(name))
    return [float(row[found]) for row in rows if row[found]]


def train(config: str, seed: int, root: Path, *options: str) -> tuple[Path, str]:
    """Train one config; the run's folder and the seconds that it took."""
    command = ["fit", "--config", config, f"--experiment=fit-{config}-{seed}", f"--seed_everything={seed}"]
    seconds = lit_gen(*command, f"--trainer.default_root_dir={root}", *options)
    (run,) = (root / f"fit-{config}-{seed}").iterdir()
    return run, f"{seconds:.0f} s"


def test(run: Path, root: Path, *options: str) -> Path:
    """Test the last weights of a run; the test's folder."""
    experiment = run.parent.name.replace("fit-", "test-")
    checkpoint = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    lit_gen("test", checkpoint, f"--experiment={experiment}", f"--trainer.default_root_dir={root}", *options)
    (tested,) = (root / experiment).iterdir()
    return tested


def scores(config: str, seed: int, root: Path, *options: str) -> list[str]:
    """Train and test one config; a row of the table of scores."""
    run, seconds = train(config, seed, root, *options)
    tested = test(run, root, "--evaluate.num_samples=500", *options)
    distance = column(run, "val/fd_")
    classes, probability = (column(tested, f"test/{name}")[-1] for name in ("classes_", "top_probability_"))
    ratio = f"1/{distance[0] / distance[-1]:.0f}"
    distances = [f"{distance[0]:.0f}", f"{distance[-1]:.1f}", ratio]
    return [config, str(seed), *distances, f"{classes:.0f}", f"{probability:.3f}", seconds]


def likelihood(config: str, seed: int, root: Path, *options: str, samples: int) -> list[str]:
    """Train and test one config; a row of the table of likelihoods."""
    run, seconds = train(config, seed, root, *options)
    # All test images; one sample of q is enough for the active units, which are counted by its mean.
    # Few mebibytes at once stay in a processor's cache.
    settings = {"num_images": "null", "samples": 1, "nll_samples": samples, "memory_mib": 16, "pictures": "false"}
    diagnostics = ["--trainer.callbacks+=LatentDiagnostics"]
    diagnostics += [f"--trainer.callbacks.{name}={value}" for name, value in settings.items()]
    tested = test(run, root, *diagnostics, *options)
    names = ("test/nelbo_nats", f"test/nll_is{samples}", f"test/ess_is{samples}", "test/active_units")
    nelbo, nll, effective, active = (column(tested, name)[-1] for name in names)
    return [config, str(seed), f"{nelbo:.2f}", f"{nll:.2f}", f"{effective:.1f}", f"{active:.0f}", seconds]


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("scores", "likelihood"), default="scores")
    parser.add_argument("--configs", nargs="+", help="names of shipped configs (the table's own)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--importance_samples", type=int, default=500, help="of z for each image (500)")
    parser.add_argument("--root", type=Path, help="keep the runs in this folder")
    parser.add_argument("options", nargs="*", help="after --: options of every command, e.g. --data.root=data")
    arguments = parser.parse_args()
    row: Callable[..., list[str]] = scores
    header, configs = SCORES, arguments.configs or DIGITS
    if arguments.table == "likelihood":
        row = partial(likelihood, samples=arguments.importance_samples)
        header, configs = LIKELIHOOD, arguments.configs or MNIST
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.root or Path(temporary)
        rows = [row(config, seed, root, *arguments.options) for config in configs for seed in arguments.seeds]
    for cells in (header, ["---"] * len(header), *rows):
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
