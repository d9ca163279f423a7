"""Counts which codes the bottlenecks of autoencoders use, as a table over training.

    python scripts/experiments/codes.py digits
    python scripts/experiments/codes.py mnist --root data --steps 500 1000 2000
    python scripts/experiments/codes.py images.npz --precision bf16-mixed

Small `VQGAN`s without a discriminator of factor 4 (2 on the digits), of the same networks and seed, from scratch.
Counted is after so many steps, over all training and over all validation images: codes that occur and exp of their
entropy.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from datamodules import ArrayDataModule, CIFAR10DataModule, DataModule, DigitsDataModule, MNISTDataModule
from lit_gen import VQGAN, fit
from lit_gen.networks import FSQ, LFQ, ConvDecoder, ConvEncoder, VectorQuantizer
from lit_gen.optimizers import AutoencoderAdam

ROWS: dict[str, Any] = {
    "FSQ": partial(FSQ, levels=(8, 5, 5, 5)),
    "FSQ, whitened": partial(FSQ, levels=(8, 5, 5, 5), whiten=True),
    "VQ": partial(VectorQuantizer, codes=1000, channels=8),
    "LFQ": partial(LFQ, bits=10),
}


class Count(L.Callback):
    """Codes that occur, at some steps."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = set(steps)
        self.found: list[str] = []

    def on_train_batch_end(self, trainer: Any, pl_module: L.LightningModule, *_: Any) -> None:
        """Counts them, by averaged weights if there are such."""
        if trainer.global_step in self.steps:
            self.steps.discard(trainer.global_step)
            self.found.append(", ".join(self.of_split(trainer, pl_module, split) for split in ("train", "val")))

    @staticmethod
    @torch.inference_mode()
    def of_split(trainer: Any, model: Any, split: Any) -> str:
        """Codes and perplexity among all positions of a split's images."""
        data = trainer.datamodule.dataset(split)
        counts = torch.zeros(model.quantizer.codes, dtype=torch.int64)
        for start in range(0, len(data), 500):
            images = DataModule.to_float(data.__getitems__(list(range(start, min(start + 500, len(data)))))[0])
            counts += torch.bincount(model.indices(images).flatten(), minlength=len(counts))
        share = counts[counts > 0] / counts.sum()
        return f"{len(share)} ({float((-share * share.log()).sum().exp()):.0f})"


def data_of(name: str, root: str) -> DataModule:
    """A set by name, or an array file."""
    if name == "digits":
        return DigitsDataModule(batch_size=64)
    if name == "mnist":
        return MNISTDataModule(root, batch_size=64)
    if name == "cifar10":
        return CIFAR10DataModule(root, batch_size=64)
    return ArrayDataModule(name, batch_size=64)


def run(bottleneck: Any, data: DataModule, arguments: argparse.Namespace) -> list[str]:
    """What is counted after each number of steps."""
    L.seed_everything(arguments.seed, verbose=False)
    small = data.image_shape[1] < 16
    networks: dict[str, Any] = {"widths": (16, 32) if small else (32, 48, 64), "blocks": 1, "groups": 8}
    model = VQGAN(
        data.image_shape,
        bottleneck=bottleneck,
        encoder=partial(ConvEncoder, **networks, attention=False),
        decoder=partial(ConvDecoder, **networks, attention=False),
        discriminator=None,
        autoencoder_optimizer=partial(AutoencoderAdam, lr=1e-3),
    )
    count = Count(arguments.steps)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "limit_val_batches": 0, "accelerator": "cpu"}
    fit(model, data, max_steps=max(arguments.steps), callbacks=[count], precision=arguments.precision, **quiet)
    return count.found


def main() -> None:
    """Train, count, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="digits, mnist, cifar10, or an array file of images")
    parser.add_argument("--root", default="data", help="where mnist and cifar10 are, or are downloaded to")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", nargs="+", type=int, default=[250, 500, 1000])
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.data not in ("digits", "mnist", "cifar10") and not Path(arguments.data).is_file():
        parser.error(f"data={arguments.data!r}: must be digits, mnist, cifar10 or an array file")
    print("| codes (perplexity) in train, val |", " | ".join(f"{n} steps" for n in arguments.steps), "|")
    print("|---" * (1 + len(arguments.steps)) + "|")
    for name in arguments.rows:
        found = run(ROWS[name], data_of(arguments.data, arguments.root), arguments)
        print(f"| {name} of {ROWS[name].keywords} |", " | ".join(found), "|", flush=True)


if __name__ == "__main__":
    main()
