"""What ``lit-gen fit`` trains where data are named and no model is: a GAN that suits them, told in a few lines."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import ArgumentParser

from datamodules import DataModule, ImageFolderDataModule
from lit_gen.metrics import SHIPPED
from lit_gen.metrics.choosing import shipped_for
from lit_gen.networks.resnet import accepts
from lit_gen.precision import fast_bfloat16

SIDES = (32, 64, 128, 256)  # of square pictures, for which there are residual networks
SLOW = 64  # the largest side that a CPU trains in hours
FEW = 20_000  # images, below which a discriminator learns them by heart
LOOKED = 200  # pictures whose size is read
CPU_WIDTHS = {32: 64, 48: 16, 64: 16, 128: 8, 256: 8}  # of networks that train on a CPU; else their own defaults


@dataclass
class Choice:
    """A configuration below all that the user gives, and why it is so.

    Args:
        config: nested options, as a file holds them.
        lines: a sentence for each choice, with the option that changes it.
    """

    config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def choose(data: Mapping[str, Any], sized: bool, accelerated: bool) -> Choice | None:
    """Model and training for a data module that is described by ``class_path`` and ``init_args``.

    Relativistic pairing with R1 and R2 (arXiv:2501.05441) on residual networks, batch norm in the generator alone, was
    the best of what was measured on small pictures (docs/results.md).

    Args:
        data: the description.
        sized: whether the user said ``image_size``.
        accelerated: whether a GPU or the like does the work.

    Returns:
        None for data that are no images.

    Raises:
        ValueError: what the data module refuses.
    """
    module = _made(data)
    choice = Choice({"data": {"class_path": data["class_path"], "init_args": {}}})
    if isinstance(module, ImageFolderDataModule) and not sized:
        side = _fitting_side(module, accelerated)
        choice.config["data"]["init_args"]["image_size"] = side
        choice.lines.append(f"pictures of {side} x {side}, cropped at the centre (--data.image_size)")
        module = _made({**data, "init_args": {**data["init_args"], "image_size": side}})
    if len(module.image_shape) != 3:
        return None
    images = len(module.dataset("train"))
    _choose_model(choice, module.image_shape, images, accelerated)
    if module.image_shape[0] == 3:
        choice.config["data"]["init_args"]["flip"] = True
        choice.lines.append("each image as likely mirrored (--data.flip false)")
    shipped = [name for name in SHIPPED if shipped_for(name, module.image_shape) is not None]
    if shipped and module.name not in SHIPPED:
        choice.config["evaluate"] = {"extractor": shipped[0]}
        choice.lines.append(
            f"scored in the features of {shipped[0]} (--evaluate.extractor; lit-gen extractor makes one)"
        )
    choice.config["samples"] = {"every_n_seconds": 60}
    choice.lines.append("a grid of samples every minute (--samples.every_n_seconds)")
    steps = 100_000 if accelerated else 20_000
    precision = "bf16-mixed" if fast_bfloat16(accelerated) else "32-true"
    choice.config["trainer"] = {"max_steps": steps, "precision": precision}
    choice.lines.append(f"{steps:,} batches (--trainer.max_steps) in {precision} (--trainer.precision)")
    return choice


def _choose_model(choice: Choice, shape: tuple[int, ...], images: int, accelerated: bool) -> None:
    arguments: dict[str, Any] = {
        "loss": {"class_path": "RelativisticPairing"},
        "penalty": {"class_path": "R1R2", "init_args": {"weight": 0.5}},
    }
    names = "convolutional networks"
    if accepts(shape):
        width = None if accelerated else CPU_WIDTHS.get(shape[1])
        sizes = {} if width is None else {"init_args": {"width": width}}
        arguments |= {name: {"class_path": f"ResNet{name.title()}", **sizes} for name in ("generator", "discriminator")}
        names = "residual networks" + ("" if width is None else f" of width {width}")
    for player in ("generator", "discriminator"):
        arguments[f"{player}_optimizer"] = {"class_path": "GANAdam", "init_args": {"lr": 3e-4, "betas": [0.0, 0.99]}}
    choice.lines.append(f"a GAN with relativistic pairing, R1 and R2 (--model) of {names} (--model.generator)")
    if images < FEW:
        arguments["augmentation"] = {"class_path": "DiffAugment"}
        choice.lines.append(f"{images:,} images are few: augmented by DiffAugment (--model.augmentation null)")
    choice.config["model"] = {"class_path": "GAN", "init_args": arguments}


def _made(data: Mapping[str, Any]) -> DataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    made: DataModule = parser.instantiate_classes(parser.parse_object({"data": dict(data)})).data
    return made


def _fitting_side(module: ImageFolderDataModule, accelerated: bool) -> int:
    """The largest side that the typical picture covers, and that the machine can train."""
    sizes = module.found(LOOKED).sizes
    shorter = [min(size) for size, count in sizes.items() for _ in range(count)]
    largest = min(statistics.median(shorter) if shorter else SIDES[0], SIDES[-1] if accelerated else SLOW)
    return max((side for side in SIDES if side <= largest), default=SIDES[0])
