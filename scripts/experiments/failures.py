"""Short trainings on MNIST that go right or wrong, each as a grid of samples with what GameMonitor says of it.

    python scripts/experiments/failures.py --data.root data --out docs/images

`good`: the shipped rpgan_mnist. `collapse`: MLPs without batch norm or penalty, whose generator learns 25 times as
fast as the discriminator. `copies`: 30 images, for so long that they are known by heart; below each row of samples are
the training images nearest to them. `grey`: minimax, and a discriminator that learns a hundred times as fast as the
generator. `checkerboard`: DCGAN's transposed convolutions, early. One seed, batches of 32 or 30. Files: gan_NAME.png.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from datamodules import MNISTDataModule
from datamodules.datasets import InMemoryDataset, to_float
from lit_gen import GAN, fit, from_pretrained
from lit_gen.callbacks import GameMonitor
from lit_gen.losses import R1, Minimax
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam
from lit_gen.pictures import image_grid, save_png

SAMPLES, COLUMNS = 24, 8
MEASURED = ("spread", "copy_ratio", "overfitting", "auc", "gradient_ratio")


class Few(MNISTDataModule):
    """Some of the training images, spread evenly."""

    count: int

    def read(self) -> Any:
        splits = super().read()
        train = splits["train"]
        chosen = [i * len(train) // self.count for i in range(self.count)]
        return {**splits, "train": InMemoryDataset(*train.__getitems__(chosen))}


@dataclass(frozen=True)
class Failure:
    """What goes wrong: the model's options, how many images it has, and how many batches it sees."""

    steps: int
    model: dict[str, Any] = field(default_factory=dict)
    images: int = 10_000
    beside_nearest: bool = False


def rates(generator: float, discriminator: float) -> dict[str, Callable[..., Any]]:
    """Adam's learning rates of the players."""
    of = {"generator": generator, "discriminator": discriminator}
    return {f"{player}_optimizer": partial(GANAdam, lr=lr) for player, lr in of.items()}


DCGAN = {
    "generator": partial(DCGANGenerator, width=16),
    "discriminator": partial(DCGANDiscriminator, width=16, norm="none"),
}
MLP = {"generator": partial(MLPGenerator, width=256), "discriminator": partial(MLPDiscriminator, width=256)}
FAILURES = {
    "collapse": Failure(600, {**MLP, **rates(5e-3, 2e-4)}),
    "copies": Failure(3000, {**MLP, "penalty": R1(weight=0.1, interval=4)}, images=30, beside_nearest=True),
    "grey": Failure(150, {"loss": Minimax(), **rates(1e-5, 1e-3)}),
    "checkerboard": Failure(75, {}),
}


def play(name: str, root: str, seed: int) -> tuple[Tensor, list[str]]:
    """Train one; its samples, and what was measured and said."""
    failure = FAILURES[name]
    L.seed_everything(seed, verbose=False)
    data = Few(root=root, download=False, batch_size=min(32, failure.images))
    data.count = failure.images
    model = GAN((1, 28, 28), latent_dim=32, ema_half_life=100, **{**DCGAN, **failure.model})
    monitor = GameMonitor(patience=2)
    every = {"val_check_interval": failure.steps // 3, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}
    fit(model, data, max_steps=failure.steps, callbacks=[monitor], **every, **quiet)
    samples = model.sample(SAMPLES, generator=torch.Generator().manual_seed(seed))
    if failure.beside_nearest:
        known = to_float(data.dataset("train").__getitems__(list(range(failure.images)))[0])
        nearest = known[torch.cdist(samples.flatten(1), known.flatten(1)).argmin(1)]
        rows = zip(samples.split(COLUMNS), nearest.split(COLUMNS), strict=True)
        samples = torch.cat([image for pair in rows for image in pair])
    measured = model.trainer.callback_metrics
    found = [f"{name} {measured[f'game/{name}']:.3g}" for name in MEASURED if f"game/{name}" in measured]
    return samples, [f"at the end {', '.join(found)}.", *(sentence for _, _, sentence in monitor.alarms)]


def main() -> None:
    """Make the pictures, and print what is said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data", help="of MNIST, which is not fetched")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the pictures")
    parser.add_argument("--rows", nargs="+", choices=["good", *FAILURES], default=["good", *FAILURES])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arguments.rows:
        if name == "good":
            model, said = from_pretrained("rpgan_mnist"), []
            samples = model.sample(SAMPLES, generator=torch.Generator().manual_seed(arguments.seed))
        else:
            samples, said = play(name, arguments.root, arguments.seed)
        file = arguments.out / f"gan_{name}.png"
        save_png(file, image_grid(samples, COLUMNS, cell=48), " ".join(said))
        print(f"{file}: {' '.join(said) or 'no alarm'}", flush=True)


if __name__ == "__main__":
    main()
