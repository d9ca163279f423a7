"""Train the small classifier whose features Fréchet distances are computed on, by one fixed recipe.

    python scripts/train_extractor.py --data mnist --root data --out mnist.safetensors

The training split alone is used; the accuracy on the test split is printed, and written into the file with the recipe.
"""

import argparse
import inspect
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import datamodules
from lit_gen.metrics import SmallCNN, save_extractor

BATCH, LR, WEIGHT_DECAY = 64, 3e-3, 1e-2
EPOCHS, IMAGES_SEEN = 4, 100_000  # by default whichever is longer
SHORT_NAMES = {"digits": "DigitsDataModule", "mnist": "MNISTDataModule"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="digits, mnist or the name of a class in datamodules")
    parser.add_argument("--root", help="the data module's root (or path) argument")
    parser.add_argument("--name", help="name of the extractor, which scores carry; by default the data's")
    parser.add_argument("--epochs", type=int, help=f"by default {EPOCHS}, or more where that shows few images")
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
    network = SmallCNN(data.image_shape, data.num_classes, name=name)
    recipe = train(network, data, arguments.epochs)
    accuracy = test(network, data)
    facts = {"data": type(data).__name__, "recipe": recipe, "test_accuracy": round(accuracy, 4)}
    digest = save_extractor(network, out, **facts)
    print(f"test accuracy {100 * accuracy:.2f} %, {time.perf_counter() - start:.0f} s")
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


def train(network: SmallCNN, data: Any, epochs: int | None = None) -> str:
    """AdamW under a one-cycle schedule on images shifted by up to 1/14 of their size. Returns the recipe in words."""
    dataset = data.dataset("train")
    generator = torch.Generator().manual_seed(0)
    per_epoch = len(dataset) // BATCH
    epochs = epochs or max(EPOCHS, -(-IMAGES_SEEN // len(dataset)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * per_epoch)
    shift = max(1, round(max(data.image_shape[1:]) / 14))
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(dataset), generator=generator).tolist()
        for step in range(per_epoch):
            images, labels = dataset.__getitems__(order[step * BATCH : (step + 1) * BATCH])
            images = shifted(data.to_float(images), shift, generator)
            loss = F.cross_entropy(network.classify(images)[1], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.4f}")
    return (
        f"AdamW lr {LR} weight decay {WEIGHT_DECAY}, one cycle, batch {BATCH}, {epochs} epochs, "
        f"shifts of up to {shift} pixels, seed 0"
    )


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``most`` pixels each way, background (-1) drawn in."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (most, most, most, most), value=-1.0)
    tops, lefts = torch.randint(2 * most + 1, (2, len(images), 1), generator=generator)
    rows, columns = tops + torch.arange(height), lefts + torch.arange(width)
    index = torch.arange(len(images))[:, None, None]
    return padded.movedim(1, -1)[index, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


@torch.no_grad()
def test(network: SmallCNN, data: Any) -> float:
    """Share of the test split that is classified right."""
    dataset, right = data.dataset("test"), 0
    network.eval()
    for start in range(0, len(dataset), 500):
        images, labels = dataset.__getitems__(list(range(start, min(start + 500, len(dataset)))))
        right += int((network.classify(data.to_float(images))[1].argmax(1) == labels).sum())
    return right / len(dataset)


if __name__ == "__main__":
    main()
