"""Train the small classifier whose features Fréchet distances are computed on, by one of two fixed recipes.

    python scripts/train_extractor.py --data mnist --root data --out mnist.safetensors
    python scripts/train_extractor.py --data cifar10 --root data --out cifar10.safetensors

Colour images take the recipe of photographs, others that of drawings. The training split alone is used; the accuracy
on the other splits is printed, and written into the file with the recipe.
"""

import argparse
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import datamodules
from lit_gen.metrics import DataSetClassifier, SmallCNN, SmallResNet, save_extractor

SHORT_NAMES = {"digits": "DigitsDataModule", "mnist": "MNISTDataModule", "cifar10": "CIFAR10DataModule"}


@dataclass(frozen=True)
class Recipe:
    """AdamW under a one-cycle schedule on images shifted by up to ``shift`` of their size.

    ``epochs`` of them, or more where they show fewer images than ``images_seen``. ``flip`` mirrors half of the images,
    ``bf16`` computes convolutions in bfloat16.
    """

    network: type[DataSetClassifier]
    batch: int
    lr: float
    weight_decay: float
    epochs: int
    images_seen: int
    shift: float
    flip: bool = False
    bf16: bool = False


DRAWINGS = Recipe(SmallCNN, batch=64, lr=3e-3, weight_decay=1e-2, epochs=4, images_seen=100_000, shift=1 / 14)
PHOTOGRAPHS = Recipe(
    SmallResNet,
    batch=128,
    lr=6e-3,
    weight_decay=5e-2,
    epochs=14,
    images_seen=100_000,
    shift=1 / 8,
    flip=True,
    bf16=True,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="digits, mnist, cifar10 or the name of a class in datamodules")
    parser.add_argument("--root", help="the data module's root (or path) argument")
    parser.add_argument("--name", help="name of the extractor, which scores carry; by default the data's")
    parser.add_argument("--epochs", type=int, help="by default the recipe's, or more where that shows few images")
    parser.add_argument("--out", type=Path, help="file to write; by default <name>.safetensors")
    arguments = parser.parse_args()

    data = build(parser, arguments.data, arguments.root)
    data.prepare_data()
    name = arguments.name or data.name
    out = arguments.out or Path(f"{name}.safetensors")
    if out.suffix != ".safetensors":
        parser.error(f"--out {out}: the name must end in .safetensors")
    start = time.perf_counter()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the order of sums, and with it the weights, would depend on the number
    torch.use_deterministic_algorithms(True)
    recipe = PHOTOGRAPHS if data.image_shape[0] == 3 else DRAWINGS
    network = recipe.network(data.image_shape, data.num_classes, name=name)
    facts: dict[str, Any] = {"data": type(data).__name__, "recipe": train(network, data, recipe, arguments.epochs)}
    facts["test_accuracy"] = round(accuracy(network, data, "test"), 4)
    if recipe is PHOTOGRAPHS:
        facts["val_accuracy"] = round(accuracy(network, data, "val"), 4)
        facts["images"] = {split: len(data.dataset(split)) for split in ("train", "val", "test")}
    digest = save_extractor(network, out, **facts)
    print(f"test accuracy {100 * facts['test_accuracy']:.2f} %, {time.perf_counter() - start:.0f} s")
    print(f"{out}: {out.stat().st_size} bytes, sha256 {digest}")


def build(parser: argparse.ArgumentParser, name: str, root: str | None) -> Any:
    """The data module, given its folder or file if it takes one."""
    cls = getattr(datamodules, SHORT_NAMES.get(name, name), None)
    if not inspect.isclass(cls):
        parser.error(f"--data {name}: neither {', '.join(SHORT_NAMES)} nor a class in datamodules")
    taken = [key for key in ("root", "path") if key in inspect.signature(cls).parameters]
    if root is not None and not taken:
        parser.error(f"--root {root}: {cls.__name__} takes none")
    data: Any = cls(**({taken[0]: root} if root is not None else {}))
    if len(data.image_shape) != 3 or data.num_classes < 2:
        parser.error(f"--data {name}: a classifier needs images of at least 2 classes")
    return data


def train(network: DataSetClassifier, data: Any, recipe: Recipe, epochs: int | None = None) -> str:
    """Follow the recipe, and say it in words."""
    dataset = data.dataset("train")
    generator = torch.Generator().manual_seed(0)
    per_epoch = len(dataset) // recipe.batch
    epochs = epochs or max(recipe.epochs, -(-recipe.images_seen // len(dataset)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=epochs * per_epoch)
    shift = max(1, round(max(data.image_shape[1:]) * recipe.shift))
    if recipe.bf16:
        network.to(memory_format=torch.channels_last)
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(dataset), generator=generator).tolist()
        for step in range(per_epoch):
            images, labels = dataset.__getitems__(order[step * recipe.batch : (step + 1) * recipe.batch])
            images = shifted(data.to_float(images), shift, generator)
            if recipe.flip:
                images = mirrored(images, generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
                loss = F.cross_entropy(network.classify(images)[1], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.4f}", flush=True)
    network.to(memory_format=torch.contiguous_format)
    return (
        f"AdamW lr {recipe.lr} weight decay {recipe.weight_decay}, one cycle, batch {recipe.batch}, {epochs} epochs, "
        f"shifts of up to {shift} pixels, {'mirrored, ' * recipe.flip}{'bfloat16, ' * recipe.bf16}seed 0"
    )


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``most`` pixels each way, background (-1) drawn in."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (most, most, most, most), value=-1.0)
    tops, lefts = torch.randint(2 * most + 1, (2, len(images), 1), generator=generator)
    rows, columns = tops + torch.arange(height), lefts + torch.arange(width)
    index = torch.arange(len(images))[:, None, None]
    return padded.movedim(1, -1)[index, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen, images.flip(-1), images)


@torch.no_grad()
def accuracy(network: DataSetClassifier, data: Any, split: str) -> float:
    """Share of a split that is classified right, in float32."""
    dataset, right = data.dataset(split), 0
    network.eval()
    for start in range(0, len(dataset), 500):
        images, labels = dataset.__getitems__(list(range(start, min(start + 500, len(dataset)))))
        right += int((network.classify(data.to_float(images))[1].argmax(1) == labels).sum())
    return right / len(dataset)


if __name__ == "__main__":
    main()
