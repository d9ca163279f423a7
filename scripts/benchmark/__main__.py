"""Measures speed side by side: what the library does against the least that PyTorch needs for the same arithmetic.

    python scripts/benchmark steps
    python scripts/benchmark steps --rows dcgan_32 mlp_gan_2d --rounds 5 --json steps.json
    python scripts/benchmark vae_mlp
    python scripts/benchmark scores --rounds 3
    python scripts/benchmark extractors
    python scripts/benchmark sampling
    python scripts/benchmark startup
    python scripts/benchmark augmentation --rounds 5
    python scripts/benchmark inversion --rounds 1

Both sides take turns in short stretches on one thread, and the clock counts the processor time of this process alone,
so that other work on the machine hits them alike and as little as can be; the figures are medians.
"""

import argparse
import logging
import warnings

import torch

from augmentation import augmentation
from extractors import extractors
from inversion import inversion
from rows import ROWS
from sampling import sampling
from scores import scores
from startup import startup
from steps import steps
from vae_mlp import vae_mlp

BENCHMARKS = {
    "steps": steps,
    "vae_mlp": lambda arguments: vae_mlp(arguments.rounds),
    "scores": lambda arguments: scores(arguments.rounds),
    "extractors": lambda arguments: extractors(arguments.rounds),
    "sampling": lambda arguments: sampling(arguments.rounds),
    "startup": lambda arguments: startup(arguments.rounds),
    "augmentation": lambda arguments: augmentation(arguments.rounds),
    "inversion": lambda arguments: inversion(arguments.rounds),
}


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--threads", type=int, default=1)
    of_steps = parser.add_argument_group("steps")
    of_steps.add_argument("--rows", nargs="*", choices=sorted(ROWS), help="which steps; by default all")
    of_steps.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    of_steps.add_argument("--json", help="a file for the figures")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    BENCHMARKS[arguments.benchmark](arguments)


if __name__ == "__main__":
    main()
