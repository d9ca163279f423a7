"""``lit-gen sample``: images from a trained model, as a grid, a folder of PNGs or an array."""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_gen.class_grid import class_caption, class_grid
from lit_gen.cli.commands.labels import labels_said
from lit_gen.cli.words import CommandParser
from lit_gen.distributions.categorical import check_sharpening
from lit_gen.distributions.latents import lerp, slerp, truncated_normal
from lit_gen.files import whole_file, whole_folder
from lit_gen.models import AutoencodingModel, LatentVariableModel
from lit_gen.pictures import image_grid, save_png, to_uint8
from lit_gen.pretrained.loading import from_pretrained

SHARPENING: dict[str, Any] = {"temperature": 1.0, "top_k": None, "top_p": None}  # without any
PATHS = {"spherical": slerp, "linear": lerp}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    command = CommandParser("sample", "Images from a trained model.")
    command.add_argument("source", help="a checkpoint, a folder of save_pretrained, or a shipped name")
    command.add_argument("-n", type=int, default=64, help="number of images (64)")
    command.add_argument(
        "--labels",
        nargs="+",
        help="classes of a conditional model by name or number, taken in turn, a row or more of the grid each; random "
        "ones by default",
    )
    command.add_argument("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    command.add_argument("--seed", type=int, default=0, help="of the latents (0)")
    command.add_argument(
        "--out",
        help="a picture (.png, .jpg, .webp, …) for one grid, a .npz for the arrays images (N, H, W[, C]) uint8, "
        "labels (N,) and class_names (K,), or points as they are; any other name is a new folder of PNGs. By "
        "default samples.png, or the next free name, samples.2.png, …",
    )
    command.add_argument("--device", default="cpu", help="where the network runs, e.g. cuda (cpu)")
    command.add_argument("--raw", action="store_true", help="by the weights as trained, not by their average")
    command.add_argument(
        "--interpolate",
        nargs="?",
        const="spherical",
        choices=sorted(PATHS),
        help="paths between pairs of latents, one a row: along great circles (the default) or straight lines",
    )
    command.add_argument("--steps", type=int, default=8, help="images of a path, its ends included (8)")
    command.add_argument(
        "--truncation", type=float, help="draw latents from the normal distribution within this bound: less variety"
    )
    command.add_argument("--temperature", type=float, help="of a VAE's latents or a CodePrior's logits, its own")
    command.add_argument("--top_k", type=int, help="of a CodePrior: draw each code from so many most probable ones")
    command.add_argument(
        "--top_p", type=float, help="of a CodePrior: draw each code from the most probable ones of this share"
    )
    return command


def run(arguments: list[str]) -> None:
    """Draw the samples and write them.

    Raises:
        ValueError: for an option that is out of range or doesn't suit the model, naming it.
        FileNotFoundError: if there is no such source.
    """
    options = parser().parse_args(arguments)
    if options.n < 1:
        raise ValueError(f"-n {options.n}: at least 1 image is needed")
    if options.interpolate and (options.steps < 2 or options.n % options.steps):
        raise ValueError(f"--steps {options.steps}: at least 2, and a divisor of -n {options.n}")
    out = free_name(Path("samples.png")) if options.out is None else Path(options.out)
    kind = kind_of(out)
    module: Any = from_pretrained(options.source, trusted=options.trust, device=options.device, training=False)
    if options.raw:
        if not module.averages:
            raise ValueError(f"--raw: {options.source} holds no weights beside averages, or keeps none")
        module.averages.clear()
    check_model(module, options, out, kind)
    sharpen(module, options)
    options.labels = labels_said(options.labels, module, options.source)
    images, labels = draw(module, options)
    replaced = out.exists()
    if kind == "grid":
        row = options.steps if options.interpolate else None
        by_class = options.labels is not None
        picture = class_grid(images, labels, module.class_names, row) if by_class else image_grid(images, columns=row)
        save_grid(out, picture, class_caption(labels, module.class_names) if by_class else "")
    elif kind == "arrays":
        array = images.numpy() if images.ndim == 2 else to_uint8(images).movedim(1, -1).numpy()
        with whole_file(out) as file:
            array, names = array[..., 0] if array.shape[-1] == 1 else array, np.array(module.class_names, dtype=str)
            np.savez_compressed(file, images=array, labels=labels.numpy(), class_names=names)
    else:
        write_folder(out, images)
    told = ", in the place of the file that was there" if replaced else ""
    print(f"lit-gen: {len(images)} samples of {options.source} in {out}{told}")


def free_name(path: Path) -> Path:
    """The path, or where something lies there the first of its numbered siblings, ``samples.2.png``, that is free."""
    numbered = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([path], numbered) if not candidate.exists())


def kind_of(out: Path) -> str:
    """What is written: a ``grid``, ``arrays``, or a ``folder``.

    Raises:
        ValueError: for a folder that exists.
    """
    if out.suffix == ".npz":
        return "arrays"
    from PIL import Image  # which arrays need not

    if out.suffix.lower() in Image.registered_extensions():
        if Image.registered_extensions()[out.suffix.lower()] not in Image.SAVE:
            raise ValueError(
                f"--out {out}: {out.suffix} can't be written; .png, .jpg and .webp can, or .npz for arrays"
            )
        return "grid"
    if out.exists():
        raise ValueError(f"--out {out}: exists already; a folder of PNGs is made anew")
    return "folder"


def check_model(module: Any, options: argparse.Namespace, out: Path, kind: str) -> None:
    """See that the model can give what is asked for.

    Raises:
        ValueError: naming the option.
    """
    if isinstance(module, AutoencodingModel):
        raise ValueError(f"{options.source}: {module.without_prior(options.source)}")
    if not isinstance(module, LatentVariableModel):
        raise ValueError(f"{options.source}: a {type(module).__name__} has no latents to sample")
    shape = module.picture_shape
    if kind != "arrays" and (len(shape) != 3 or shape[0] not in (1, 3)):
        raise ValueError(f"--out {out}: samples of shape {shape} are no pictures, write them to a .npz")


def sharpen(module: Any, options: argparse.Namespace) -> None:
    """Give the model the temperature and cuts that are asked for.

    Raises:
        ValueError: for one that it doesn't have, or out of range.
    """
    for name in SHARPENING:
        if (value := getattr(options, name)) is None:
            continue
        if not hasattr(module, name):
            raise ValueError(f"--{name} {value}: a {type(module).__name__} has no such option of its samples")
        setattr(module, name, value)
    check_sharpening(*(getattr(module, name, default) for name, default in SHARPENING.items()))


def save_grid(out: Path, picture: Tensor, caption: str) -> None:
    """Write a uint8 picture ``(C, H, W)`` in the format of its name, whole or not at all; a PNG keeps its caption.

    Raises:
        ValueError: for a format that can't hold it.
    """
    from PIL import Image

    if out.suffix.lower() == ".png":
        save_png(out, picture, caption)
        return
    array = picture.movedim(0, -1).squeeze(-1).numpy()
    try:
        with whole_file(out) as file:
            Image.fromarray(array).save(file, format=Image.registered_extensions()[out.suffix.lower()])
    except (KeyError, OSError, ValueError) as error:
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"--out {out}: {error}; .png holds any picture") from None


def draw(module: LatentVariableModel, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images ``(n, *picture_shape)`` and their labels ``(n,)``, zeros for an unconditional model."""
    generator = torch.Generator().manual_seed(options.seed)
    paths = options.n // options.steps if options.interpolate else options.n
    latents = 2 * paths if options.interpolate else paths
    if options.truncation is None:
        z = torch.randn(latents, module.noise_dim, generator=generator)
    else:
        z = truncated_normal(latents, module.noise_dim, options.truncation, generator)
    given = None if options.labels is None else torch.tensor(options.labels).repeat(-(-paths // len(options.labels)))
    labels = module.classes(paths, None if given is None else given[:paths], generator)
    if options.interpolate:
        places = torch.linspace(0, 1, options.steps)
        z = PATHS[options.interpolate](z[:paths, None], z[paths:, None], places).flatten(0, 1)
        labels = tuple(y.repeat_interleave(options.steps) for y in labels)
    images = module.generate(z, *labels).float().cpu()
    return images, labels[0] if labels else torch.zeros(len(images), dtype=torch.int64)


def write_folder(folder: Path, images: Tensor) -> None:
    """PNGs in the models' own size, 00000.png and on. The folder appears whole or not at all."""
    with whole_folder(folder) as unfinished:
        for i, image in enumerate(to_uint8(images)):
            save_png(unfinished / f"{i:05d}.png", image)
