"""``lit-gen directions``: latent directions in which a model's images change, as vectors and pictures."""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_gen.cli.commands.embedding import load
from lit_gen.cli.words import CommandParser
from lit_gen.files import whole_folder
from lit_gen.latent_space import Directions, of_classes, of_groups, principal, save_directions, sefa, sheet
from lit_gen.latent_space.directions import network_of_latents
from lit_gen.models.class_names import numbered
from lit_gen.pictures import image_grid, save_png

METHODS = ("sefa", "pca", "means", "svm")
OF_GROUPS = ("means", "svm")
SHOWN = 2  # samples that each direction is shown on
PLACES = 7  # images of a row


def parser() -> CommandParser:
    """The command's options."""
    command = CommandParser("directions", "Latent directions in which a model's images change.")
    command.add_argument(
        "source", help="a checkpoint of a GAN or a VAE, a folder of save_pretrained, or a shipped name"
    )
    command.add_argument(
        "--out",
        required=True,
        help="a new folder of directions.safetensors, directions.json and a .png a method; "
        "lit-gen sample MODEL --direction FOLDER/NAME takes one",
    )
    command.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        help="sefa: eigenvectors of the first layer; pca: principal components of features; means, svm: of --groups "
        "(sefa pca, with --groups means too)",
    )
    command.add_argument("--count", type=int, default=8, help="directions of sefa and pca (8)")
    command.add_argument("--layer", help="of pca: the submodule whose outputs are taken (the first activation)")
    command.add_argument(
        "--groups",
        nargs="+",
        help="latents of lit-gen encode or invert (.npz): one file with labels, for a direction to each class, or two, "
        "for the direction from the first to the second",
    )
    command.add_argument("--strength", type=float, default=3.0, help="of the pictures' ends, in units of z (3)")
    command.add_argument("--seed", type=int, default=0, help="of the samples (0)")
    command.add_argument("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    command.add_argument("--device", default="cpu", help="where the network runs, e.g. cuda (cpu)")
    return command


def run(arguments: list[str]) -> None:
    """Find the directions and write them.

    Raises:
        ValueError: for a model without latent vectors, or an option that is out of range or doesn't suit.
        FileNotFoundError: if there is no such model or file.
    """
    options = parser().parse_args(arguments)
    out, methods = Path(options.out), methods_of(options)
    module = load(options)
    try:
        network_of_latents(module)
        groups = [read_latents(path, module) for path in options.groups or ()]
        kinds = {method: found(method, module, options, groups) for method in methods}
    except ValueError as error:
        told = str(error)
        raise ValueError(told if told.startswith("--") else f"{options.source}: {told}") from None
    with whole_folder(out) as unfinished:
        save_directions(unfinished, module, options.source, kinds.values())
        for method, kind in kinds.items():
            save_sheet(unfinished / f"{method}.png", module, kind, options)
    for method, kind in kinds.items():
        print(f"lit-gen: {method}: {', '.join(kind.names)}")
    print(f"lit-gen: {sum(len(kind.names) for kind in kinds.values())} directions of {options.source} in {out}")


def methods_of(options: argparse.Namespace) -> list[str]:
    """What is asked for.

    Raises:
        ValueError: naming the option that is out of range or doesn't suit.
    """
    out = Path(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: exists already; a folder of directions is made anew")
    if options.count < 1:
        raise ValueError(f"--count {options.count}: at least 1 direction is needed")
    if options.groups is not None and len(options.groups) > 2:
        raise ValueError(f"--groups {' '.join(options.groups)}: one file with labels, or two files")
    methods = options.methods or ["sefa", "pca", *(["means"] if options.groups else [])]
    if options.groups is None and (asked := [method for method in methods if method in OF_GROUPS]):
        raise ValueError(f"--methods {' '.join(asked)}: needs --groups, latents of lit-gen encode or invert")
    if options.groups and not set(methods) & set(OF_GROUPS):
        raise ValueError(f"--groups {' '.join(options.groups)}: for --methods means or svm")
    if options.layer is not None and "pca" not in methods:
        raise ValueError(f"--layer {options.layer}: for --methods pca")
    return list(dict.fromkeys(methods))


def read_latents(path: str, module: Any) -> dict[str, Any]:
    """The arrays of a file of ``lit-gen encode`` or ``invert``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file without latents, or with such of another dimension.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--groups {path}: there is no such file")
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in ("latents", "labels", "class_names") if name in file.files}
    except (ValueError, OSError, AttributeError):
        arrays = {}
    if "latents" not in arrays:
        raise ValueError(f"--groups {path}: holds no latents; lit-gen encode or lit-gen invert makes them of pictures")
    if arrays["latents"].ndim != 2 or arrays["latents"].shape[1] != module.latent_dim:
        raise ValueError(
            f"--groups {path}: latents of shape {arrays['latents'].shape}, not (N, {module.latent_dim}) of the model"
        )
    return arrays


def found(method: str, module: Any, options: argparse.Namespace, groups: list[dict[str, Any]]) -> Directions:
    """The directions of a method.

    Raises:
        ValueError: for a model or latents that it can't be applied to.
    """
    if method == "sefa":
        return sefa(module, options.count)
    if method == "pca":
        try:
            return principal(module, options.count, options.layer, seed=options.seed)
        except ValueError as error:
            raise ValueError(f"--{error}".replace("=", " ", 1)) from None
    latents = [torch.from_numpy(group["latents"]).float() for group in groups]
    if len(groups) == 2:
        vector, weight = of_groups(latents[0], latents[1], method)
        return Directions((method,), vector[None], torch.tensor([weight]))
    labels = torch.from_numpy(np.asarray(groups[0].get("labels", np.zeros(len(latents[0]), int))))
    names = [str(name) for name in groups[0].get("class_names", ())]
    if not names or not all(re.fullmatch(r"[\w.-]+", name) for name in names):  # they are names of files, too
        names = list(numbered(int(labels.max()) + 1))
    try:
        return of_classes(latents[0], labels, names, method)
    except ValueError as error:
        raise ValueError(f"--groups {options.groups[0]}: {error}") from None


def save_sheet(path: Path, module: Any, kind: Directions, options: argparse.Namespace) -> None:
    """Write a picture of all directions, of each two samples in rows that go along it, if samples are pictures."""
    if len(module.image_shape) != 3 or module.image_shape[0] not in (1, 3):
        return
    generator = torch.Generator().manual_seed(options.seed)
    noise = torch.randn(SHOWN, module.latent_dim, generator=generator).to(module.device, module.dtype)
    labels: tuple[Tensor, ...] = module.classes(SHOWN, None, generator)
    with torch.no_grad(), module.evaluating():
        latents = module.latents(noise)
    strengths = torch.linspace(-options.strength, options.strength, PLACES)
    images = sheet(module, latents, kind.vectors, strengths, *(y.to(module.device) for y in labels))
    save_png(path, image_grid(images.float().cpu(), columns=PLACES), f"{SHOWN} rows each: {', '.join(kind.names)}")
