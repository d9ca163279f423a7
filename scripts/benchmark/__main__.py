"""Measures speed side by side: what the library does against the least that PyTorch needs for the same arithmetic.

    python scripts/benchmark steps
    python scripts/benchmark steps --rows dcgan_32 mlp_gan_2d --rounds 5 --json steps.json
    python scripts/benchmark steps --rows dcgan_64 --rounds 5 --beside ../another-checkout
    python scripts/benchmark vae_mlp
    python scripts/benchmark scores --rounds 3
    python scripts/benchmark extractors
    python scripts/benchmark sampling
    python scripts/benchmark startup
    python scripts/benchmark fit --beside ../another-checkout --configs gan_digits vae_digits
    python scripts/benchmark augmentation --rounds 5
    python scripts/benchmark penalties --rounds 5
    python scripts/benchmark inversion --rounds 1
    python scripts/benchmark scale --images 20000

Both sides take turns in short stretches on one thread, and the clock counts the processor time of this process alone,
so that other work on the machine hits them alike and as little as can be; the figures are medians.
"""

import argparse
import logging
import warnings

import torch

from augmentation import augmentation
from beside import beside
from extractors import extractors
from fitting import fitting
from inversion import inversion
from penalties import penalties
from rows import ROWS
from sampling import sampling
from scale import AVAILABLE, scale
from scores import scores
from startup import startup
from steps import steps
from vae_mlp import vae_mlp

BENCHMARKS = {
    "steps": lambda arguments: steps(arguments) if arguments.beside is None else beside(arguments),
    "vae_mlp": lambda arguments: vae_mlp(arguments.rounds),
    "scores": lambda arguments: scores(arguments.rounds),
    "extractors": lambda arguments: extractors(arguments.rounds),
    "sampling": lambda arguments: sampling(arguments.rounds),
    "startup": lambda arguments: startup(arguments.rounds),
    "fit": lambda arguments: fitting(arguments.rounds, arguments.configs, arguments.beside, arguments.steps),
    "augmentation": lambda arguments: augmentation(arguments.rounds),
    "penalties": lambda arguments: penalties(arguments.rounds),
    "inversion": lambda arguments: inversion(arguments.rounds),
    "scale": lambda arguments: scale(
        arguments.images, arguments.loaders, arguments.rounds, arguments.batches, arguments.workers, arguments.folder
    ),
}


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--threads", type=int, default=1)
    of_two = parser.add_argument_group("steps and fit")
    of_two.add_argument("--beside", help="another checkout of this project, which takes turns with this one")
    of_steps = parser.add_argument_group("steps")
    of_steps.add_argument("--rows", nargs="*", choices=sorted(ROWS), help="which steps; by default all")
    of_steps.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    of_steps.add_argument("--json", help="a file for the figures")
    of_fit = parser.add_argument_group("fit")
    of_fit.add_argument("--configs", nargs="+", default=["gan_digits", "vae_digits"], help="shipped ones, by name")
    of_fit.add_argument("--steps", type=int, help="of each run; by default as many as the config says")
    of_scale = parser.add_argument_group("scale")
    of_scale.add_argument("--images", type=int, default=20_000, help="pictures, in thousands")
    of_scale.add_argument("--loaders", nargs="*", choices=AVAILABLE, default=AVAILABLE, help="by default all")
    of_scale.add_argument("--batches", type=int, default=150, help="that are timed")
    of_scale.add_argument("--workers", type=int, default=2)
    of_scale.add_argument("--folder", help="where pictures are made once, and stay (a temporary one)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    BENCHMARKS[arguments.benchmark](arguments)


if __name__ == "__main__":
    main()
