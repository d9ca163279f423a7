"""Trains a shipped GAN config on few images, with and without help against overfitting, at equal images seen: a table.

    python scripts/experiments/few_images.py --config gan_digits --images 200
    python scripts/experiments/few_images.py --config rpgan_mnist --images 1000 --data.root data --rows none ADA \\
        --trainer.max_steps 2500 --trainer.val_check_interval 500

The few images are spread evenly over the config's training split. Scores are of as many samples of the averaged weights
as there are held-out images, at each validation: the data's test split if it has 5,000 or more, else all training,
validation and test images but the few, at most 10,000 of them. Beside them what GameMonitor measures: how far the
discriminator takes held-out images for generated ones (1 is for such), and how near samples lie to the few (0 are
copies, 1 is as near as held-out images). Every run is `lit-gen fit`, to which options go that this script doesn't know.
Runs that are in `--root` are read, not repeated, so that the table can be printed once more.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import datamodules
from datamodules.base import DataModule
from datamodules.datasets import SPLITS
from lit_gen.pretrained.shipped import configs_folder

MOST = 10_000  # held-out images
ENOUGH = 5_000  # test images
# Of grey images, such as digits, which are none when they are mirrored.
GREY = {"DiffAugment": "policy=translation,cutout", "ADA": "categories=geom"}
FAST = "--model.augmentation.speed_images=50000"  # ten times as fast as by default, for runs as short as these
COLUMNS = ("row", "images", "batches", "fd after each", "best", "last", "overfitting", "copy ratio", "p")


def options(row: str, grey: bool, source: str | None) -> list[str]:
    """What a row adds to the command."""
    if row in GREY:
        kinds = [f"--model.augmentation.{GREY[row]}"] if grey else []
        return [f"--model.augmentation={row}", *kinds, *([FAST] if row == "ADA" else [])]
    if row == "LeCam":
        return ["--model.regularizer=LeCam", "--model.regularizer.weight=0.1"]
    if row == "none":
        return []
    if source is None:
        raise SystemExit(f"few_images.py: --rows {row} needs --init_from, a trained model")
    return [f"--model.init_from={source}", *(["--model.discriminator_freeze=2"] if row == "frozen" else [])]


ROWS = ("none", "DiffAugment", "ADA", "LeCam", "fine-tuned", "frozen")


def data_of(config: str, array: str | None, given: dict[str, Any]) -> DataModule:
    """The data of a shipped config, or of an array file that stands for them."""
    if array is not None:
        return datamodules.ArrayDataModule(array)
    described = yaml.safe_load((configs_folder() / f"{config}.yaml").read_text())["data"]
    module: DataModule = getattr(datamodules, described["class_path"])(**{**described["init_args"], **given})
    return module


def write(data: DataModule, count: int, path: Path) -> int:
    """An array file of the few as training and others as validation images; the number of these."""
    parts = {split: data.dataset(split).__getitems__(list(range(len(data.dataset(split))))) for split in SPLITS}
    images, labels = parts["train"]
    few = torch.tensor([i * len(images) // count for i in range(count)])
    rest = torch.ones(len(images), dtype=torch.bool).index_fill(0, few, False)
    others = parts["test"]
    if len(others[0]) < ENOUGH:
        kept = ((images[rest], labels[rest]), parts["val"], parts["test"])
        others = (torch.cat([x for x, _ in kept]), torch.cat([y for _, y in kept]))
    number = min(MOST, len(others[0]))
    held = torch.tensor([i * len(others[0]) // number for i in range(number)])
    arrays = {"train": (images[few], labels[few]), "val": (others[0][held], others[1][held])}
    named = {f"{split}_images": images.numpy() for split, (images, _) in arrays.items()}
    named |= {f"{split}_labels": labels.numpy() for split, (_, labels) in arrays.items()}
    np.savez(path, **named, class_names=np.array(data.class_names))
    return number


def train(row: str, seed: int, folder: Path, data: DataModule, arguments: argparse.Namespace, more: list[str]) -> None:
    """`lit-gen fit` on the few images."""
    file = folder.parent / f"{data.name}-{arguments.images}.npz"
    held_out = write(data, arguments.images, file)
    command = [sys.executable, "-m", "lit_gen", "fit", f"--config={arguments.config}", f"--seed_everything={seed}"]
    command += ["--data=ArrayDataModule", f"--data.path={file}", "--data.test_share=0"]
    command += [f"--evaluate.extractor={data.name}", f"--evaluate.num_samples={held_out}", "--evaluate.at_start=false"]
    command += ["--trainer.callbacks=GameMonitor", "--trainer.callbacks.num_samples=256"]
    command += [f"--trainer.default_root_dir={folder.parent}", f"--experiment={folder.name}"]
    command += [*options(row, data.image_shape[0] == 1, arguments.init_from), *more]
    subprocess.run(command, check=True)


def read(folder: Path) -> dict[str, list[float]]:
    """The columns of a run's validations, by their names without the split, the extractor and the number of samples."""
    (run,) = folder.iterdir()
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    def column(beginning: str) -> list[float]:
        """The values of the first column whose name begins so."""
        name = next((name for name in rows[0] if name.startswith(beginning)), "")
        return [float(row[name]) for row in rows if row.get(name)]

    distance = next(name for name in rows[0] if name.startswith("val/fd_"))
    names = {"fd": distance, "overfitting": "game/overfitting", "copy_ratio": "game/copy_ratio"}
    found = {name: column(beginning) for name, beginning in {**names, "p": "train/augmentation_p"}.items()}
    return {**found, "batches": [float(row["step"]) + 1 for row in rows if row[distance]]}


def line(row: str, images: int, found: dict[str, list[float]]) -> str:
    """A line of the table."""
    batches, fd = found["batches"], found["fd"]
    best = min(range(len(fd)), key=fd.__getitem__)
    last = [f"{found[name][-1]:.2f}" if found.get(name) else "" for name in ("overfitting", "copy_ratio", "p")]
    curve = ", ".join(f"{value:.3g}" for value in fd)
    step = f"{batches[0]:,.0f} to {batches[-1]:,.0f}"
    cells = [row, f"{images:,}", step, curve, f"{fd[best]:.3g} ({batches[best]:,.0f})", f"{fd[-1]:.3g}", *last]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Train what isn't there, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="gan_digits", help="name of a shipped config of a GAN")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["none", "DiffAugment", "ADA"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--init_from", help="a trained model, for the rows fine-tuned and frozen")
    parser.add_argument("--data.root", dest="root_of_data", help="where torchvision's data lie, which are not fetched")
    parser.add_argument("--array", help="an array file of the same images, in place of torchvision's data")
    parser.add_argument("--root", type=Path, help="keep the runs in this folder")
    arguments, more = parser.parse_known_args()
    given = {} if arguments.root_of_data is None else {"root": arguments.root_of_data, "download": False}
    data = data_of(arguments.config, arguments.array, given)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.root or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        for row in arguments.rows:
            for seed in arguments.seeds:
                folder = root / f"{arguments.config}-{arguments.images}-{row}-{seed}"
                if not folder.exists():
                    train(row, seed, folder, data, arguments, more)
                name = row if len(arguments.seeds) == 1 else f"{row}, seed {seed}"
                print(line(name, arguments.images, read(folder)), flush=True)


if __name__ == "__main__":
    main()
