"""Trains GANs on few digits, with and without help against overfitting, at equal images seen, as a table.

    python scripts/experiments/few_images.py --images 1000 --steps 3000 --seeds 0 1 2
    python scripts/experiments/few_images.py --images 1000 --steps 10000 --data.root data --data.download false

On the embedded digits, or on MNIST if ``--data.root`` is given. All rows have the same networks, learning rates,
batches and R1; the training split is cut to so many images, spread evenly over it. Scores are of the averaged weights
at the end (not at the best step) against the held-out images: a Fréchet distance in the shipped classifier's features,
and what GameMonitor measures, of 256 samples: how far the discriminator treats held-out images as generated ones, and
how much nearer samples lie to training images than held-out images do.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from datamodules import DigitsDataModule, MNISTDataModule
from datamodules.base import DataModule
from datamodules.datasets import InMemoryDataset
from lit_gen import GAN, evaluate, fit
from lit_gen.callbacks.overfitting import memorisation
from lit_gen.losses import R1
from lit_gen.modules import ADA, DiffAugment, LeCam
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator

# Mirrored digits are no digits, so blit is left out; p moves ten times as fast as by default, as the runs are short.
ROWS: dict[str, dict[str, Any]] = {
    "none": {},
    "DiffAugment": {"augmentation": DiffAugment("translation,cutout")},
    "ADA": {"augmentation": ADA("geom,color", speed_images=50_000)},
    "LeCam": {"regularizer": LeCam(weight=0.1)},
}


def few(kind: type[DataModule], count: int, **options: Any) -> DataModule:
    """A data module whose training split is ``count`` of its images."""

    class Few(kind):  # type: ignore[misc,valid-type]
        def read(self) -> Any:
            splits = super().read()
            train = splits["train"]
            chosen = [i * len(train) // count for i in range(count)]
            return {**splits, "train": InMemoryDataset(*train.__getitems__(chosen))}

    Few.__name__ = kind.__name__
    return Few(**options)


def run(row: str, seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Train and score one row."""
    L.seed_everything(seed, verbose=False)
    options: dict[str, Any] = {"batch_size": arguments.batch_size}
    kind: Any = DigitsDataModule
    if arguments.data_root is not None:
        kind = MNISTDataModule
        options |= {"root": arguments.data_root, "download": arguments.data_download == "true"}
    data = few(kind, arguments.images, **options)
    model = GAN(
        data.image_shape,
        latent_dim=64,
        generator=partial(DCGANGenerator, width=arguments.width),
        discriminator=partial(DCGANDiscriminator, width=arguments.width, norm="none"),
        penalty=R1(weight=arguments.r1, interval=4),
        **ROWS[row],
    )
    begun = time.process_time()
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}
    fit(model, data, max_steps=arguments.steps, limit_val_batches=0, **quiet)
    seconds = time.process_time() - begun
    found = evaluate(model, data, "val", scores=("fd",), **quiet)
    (score,) = [value for name, value in found.items() if "/fd_" in name]
    memory = model.view.memory
    return {
        "fd": score,
        **memorisation(data, model, 256, arguments.images),
        "augmentation_p": float("nan") if memory is None else memory.p.item(),
        "cpu_seconds": seconds,
    }


def main() -> None:
    """Train, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--r1", type=float, default=0.1)
    parser.add_argument("--data.root", dest="data_root", help="of MNIST; by default the embedded digits")
    parser.add_argument("--data.download", dest="data_download", default="true", choices=["true", "false"])
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    columns = ("fd", "overfitting", "copy_ratio", "augmentation_p", "cpu_seconds")
    print(
        f"| row, {arguments.images} images, {arguments.steps * arguments.batch_size} seen |", " | ".join(columns), "|"
    )
    print("|---" * (1 + len(columns)) + "|")
    results: dict[str, list[dict[str, float]]] = {}
    for row in arguments.rows:
        results[row] = [run(row, seed, arguments) for seed in arguments.seeds]
        cells = []
        for name in columns:
            values = [result[name] for result in results[row]]
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3g}{spread}")
        print(f"| {row} |", " | ".join(cells), "|", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
