"""What ``lit-gen fit`` trains where data are named and no model is: a GAN that suits them, told in a few lines."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import ArgumentParser

from datamodules import ArrayDataModule, DataModule
from datamodules.pictures import PicturesDataModule
from lit_gen.metrics import SHIPPED
from lit_gen.metrics.choosing import shipped_for
from lit_gen.networks.resnet import accepts
from lit_gen.precision import fast_bfloat16
from lit_gen.pretrained.names import stored_class_names
from lit_gen.pretrained.stored import locate

SIDES = (32, 64, 128, 256)  # of square pictures, for which there are residual networks
SLOW = 64  # the largest side that a CPU trains in hours
OWN = (PicturesDataModule, ArrayDataModule)  # of no published set, which has its configs
FEW = 20_000  # images, below which a discriminator learns them by heart
SPEED = 50_000  # images in which augmentation may go from none to always: runs without a GPU see a million at most
BATCH = 64  # images of a batch by the data modules' default; a training split must have as many
LOOKED = 200  # pictures whose size is read
CPU_WIDTHS = {32: 64, 48: 16, 64: 16, 128: 8, 256: 8}  # of networks that train on a CPU; else their own defaults
# Shipped GANs of the networks that train on a CPU: from their weights a short training shows something after minutes.
STARTS: dict[tuple[int, ...], str] = {(3, 32, 32): "rpgan_cifar10"}
START_OPTIONS = {"discriminator": {"pooling": "sum"}}  # as those were trained
# What may be chosen, for a first reading of the options: those of a chosen class, as --model.generator.width, need it.
CLASSES = {
    "loss": "RelativisticPairing",
    "penalty": "R1R2",
    "generator": "ResNetGenerator",
    "discriminator": "ResNetDiscriminator",
    "augmentation": "ADA",
}
CANDIDATE = {
    "model": {"class_path": "GAN", "init_args": {name: {"class_path": value} for name, value in CLASSES.items()}}
}


@dataclass
class Choice:
    """A configuration below all that the user gives, and why it is so.

    Args:
        config: nested options, as a file holds them.
        reasons: a sentence for each choice and the option that changes it, by its name without the dashes.
        num_classes: of the data.
    """

    config: dict[str, Any] = field(default_factory=dict)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    num_classes: int = 0

    @property
    def lines(self) -> list[str]:
        """All sentences, each with its option."""
        return [f"{sentence} (--{option})" for option, sentence in self.reasons]

    def lines_for(self, final: Mapping[str, Any]) -> list[str]:
        """The sentences that hold in the configuration that the user's options have made of this one."""
        chosen = [_option(self.config, option) for option, _ in self.reasons]
        values = [_option(final, option) for option, _ in self.reasons]
        return [line for line, one, value in zip(self.lines, chosen, values, strict=True) if _holds(one, value)]

    def drop_start(self, final: Mapping[str, Any]) -> bool:
        """Leave out the weights to start from if they are of other networks or classes than the user's options make.

        Returns:
            whether that was so.
        """
        networks = [f"model.{name}" for name in ("generator", "discriminator", "latent_dim")]
        arguments = self.config.get("model", {}).get("init_args", {})
        start = arguments.get("init_from")
        if start is None:
            return False
        if not all(_holds(_option(self.config, name), _option(final, name)) for name in networks):
            others = "networks"
        elif _option(final, "model.conditional") and self.num_classes == len(stored_class_names(locate(start))):
            others = "classes"  # of which as many would be taken for its own, and other numbers start from its mean
        else:
            return False
        del arguments["init_from"]
        for name, options in START_OPTIONS.items():
            for option in options:
                arguments[name]["init_args"].pop(option)
        scratch = f"from scratch: the shipped {start} has other {others}"
        self.reasons = [
            (option, scratch if option == "model.init_from" else sentence) for option, sentence in self.reasons
        ]
        return True


def choose(data: Mapping[str, Any], sized: bool, accelerated: bool) -> Choice | None:
    """Model and training for a data module that is described by ``class_path`` and ``init_args``.

    Relativistic pairing with R1 and R2 (arXiv:2501.05441) on residual networks, batch norm in the generator alone, was
    the best of what was measured on small pictures; an augmentation that is always on is behind none there, one that
    waits for overfitting isn't (docs/results.md).

    Args:
        data: the description.
        sized: whether the user said ``image_size``.
        accelerated: whether a GPU or the like does the work.

    Returns:
        None for data that are no images of one's own.

    Raises:
        ValueError: what the data module refuses.
    """
    module = _made(data)
    if not isinstance(module, OWN):
        return None
    shape = module.image_shape
    choice = Choice({"data": {"class_path": data["class_path"], "init_args": {}}}, num_classes=module.num_classes)
    if isinstance(module, PicturesDataModule) and not sized:
        side = fitting_side(module, accelerated)
        choice.config["data"]["init_args"]["image_size"] = side
        shape = (shape[0], side, side)
        sentence = f"pictures of {side} x {side}, cropped at the centre"
        started = [start[1] for start in STARTS if start[0] == shape[0]]
        if started and not accelerated and shape not in STARTS:
            sentence += f"; at {started[0]} a shipped model is the start, which shows something in minutes"
        choice.reasons.append(("data.image_size", sentence))
    if len(shape) != 3:
        return None
    images = len(module.dataset("train"))
    _choose_model(choice, shape, images, accelerated)
    if 0 < images < BATCH:
        size = 2 ** (images.bit_length() - 1)  # which processes and packs divide
        choice.config["data"]["init_args"]["batch_size"] = size
        choice.reasons.append(("data.batch_size", f"batches of {size}, for there are {images} training images"))
    if shape[0] == 3:
        choice.config["data"]["init_args"]["flip"] = True
        choice.reasons.append(("data.flip", "each image as likely mirrored"))
    shipped = [name for name in SHIPPED if shipped_for(name, shape) is not None]
    if shipped and module.name not in SHIPPED:
        choice.config["evaluate"] = {"extractor": shipped[0]}
        sentence = f"scored in the features of {shipped[0]}; lit-gen extractor makes others"
        choice.reasons.append(("evaluate.extractor", sentence))
    choice.config["samples"] = {"every_n_seconds": 60}
    choice.reasons.append(("samples.every_n_seconds", "a grid of samples every minute"))
    steps = 100_000 if accelerated else 20_000
    precision = "bf16-mixed" if fast_bfloat16(accelerated) else "32-true"
    choice.config["trainer"] = {"max_steps": steps, "precision": precision}
    choice.reasons += [("trainer.max_steps", f"{steps:,} batches"), ("trainer.precision", f"computed in {precision}")]
    return choice


def _choose_model(choice: Choice, shape: tuple[int, ...], images: int, accelerated: bool) -> None:
    arguments: dict[str, Any] = {
        "loss": {"class_path": CLASSES["loss"]},
        "penalty": {"class_path": CLASSES["penalty"], "init_args": {"weight": 0.5}},
    }
    names, start = "convolutional networks", None if accelerated else STARTS.get(shape)
    if accepts(shape):
        width = None if accelerated else CPU_WIDTHS.get(shape[1])
        sizes = {} if width is None else {"width": width}
        for name in ("generator", "discriminator"):
            options = sizes | (START_OPTIONS.get(name, {}) if start else {})
            arguments[name] = {"class_path": CLASSES[name], **({"init_args": options} if options else {})}
        names = "residual networks" + ("" if width is None else f" of width {width}")
    if start is not None:
        arguments |= {"init_from": start, "latent_dim": 128}
    for player in ("generator", "discriminator"):
        arguments[f"{player}_optimizer"] = {"class_path": "GANAdam", "init_args": {"lr": 3e-4, "betas": [0.0, 0.99]}}
    choice.reasons.append(("model.loss", "a GAN with relativistic pairing"))
    choice.reasons.append(("model.penalty", "R1 and R2 as its penalty"))
    choice.reasons.append(("model.generator", names))
    if start is not None:
        choice.reasons.append(("model.init_from", f"starting from the shipped {start}; null starts from scratch"))
    if images < FEW:
        arguments["augmentation"] = {"class_path": CLASSES["augmentation"], "init_args": {"speed_images": SPEED}}
        sentence = f"{images:,} images are few: augmented by ADA, as far as the discriminator overfits"
        choice.reasons.append(("model.augmentation", sentence))
    choice.config["model"] = {"class_path": "GAN", "init_args": arguments}


def _option(config: Any, name: str) -> Any:
    """The value of an option such as ``data.flip`` in a nested configuration; None without one."""
    for part in name.split("."):
        config = config.get("init_args", config).get(part) if isinstance(config, Mapping) else None
    return config


def _holds(chosen: Any, final: Any) -> bool:
    """Whether a final value has all that was chosen; classes may be said by their short names."""
    if isinstance(chosen, Mapping):
        return isinstance(final, Mapping) and all(
            str(final.get(key)).endswith(str(value)) if key == "class_path" else _holds(value, final.get(key))
            for key, value in chosen.items()
        )
    return bool(chosen == final)


def _made(data: Mapping[str, Any]) -> DataModule:
    """The data module to look at; it reserves no cache of images, which is the run's to fill."""
    arguments = {name: value for name, value in data["init_args"].items() if name not in ("cache", "cache_folder")}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    made: DataModule = parser.instantiate_classes(parser.parse_object({"data": {**data, "init_args": arguments}})).data
    return made


def fitting_side(module: DataModule, accelerated: bool) -> int:
    """The largest side that the typical picture covers, and that the machine can train."""
    sizes = module.found(LOOKED).sizes
    shorter = [min(size) for size, count in sizes.items() for _ in range(count)]
    largest = min(statistics.median(shorter) if shorter else SIDES[0], SIDES[-1] if accelerated else SLOW)
    return max((side for side in SIDES if side <= largest), default=SIDES[0])
