"""``lit-gen sample``: images from a trained model, as a grid, a folder of PNGs or an array."""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lit_gen.class_grid import class_caption, class_grid
from lit_gen.cli.commands.drawing import add_drawing, check_drawing, check_latents, draw, draw_frames
from lit_gen.cli.commands.labels import labels_said
from lit_gen.cli.words import CommandParser, an
from lit_gen.distributions.categorical import check_sharpening
from lit_gen.files import whole_file, whole_folder
from lit_gen.models import AutoencodingModel, LatentVariableModel
from lit_gen.pictures import channels_last, image_grid, save_png, to_uint8
from lit_gen.pretrained.loading import from_pretrained
from lit_gen.videos import check_video, save_video

SHARPENING: dict[str, Any] = {"temperature": 1.0, "top_k": None, "top_p": None}  # without any


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
    add_drawing(command)
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
    check_drawing(options)
    out, kind = target_of(options)
    module: Any = from_pretrained(options.source, trusted=options.trust, device=options.device, training=False)
    if options.raw:
        if not module.averages:
            raise ValueError(f"--raw: {options.source} holds no weights beside averages, or keeps none")
        module.averages.clear()
    check_model(module, options, out, kind)
    sharpen(module, options)
    check_latents(module, options)
    options.labels = labels_said(options.labels, module, options.source)
    replaced = out.exists()
    if kind == "video":
        moving, labels = draw_frames(module, options)
        save_video(out, [channels_last(grid_of(images, labels, module, options)) for images in moving], options.fps)
        print(
            f"lit-gen: {options.frames} frames of {options.n} samples of {options.source} in {out}{told_of(replaced)}"
        )
        return
    images, labels = draw(module, options)
    if kind == "grid":
        caption = "" if options.labels is None else class_caption(labels, module.class_names)
        save_grid(out, grid_of(images, labels, module, options), caption)
    elif kind == "arrays":
        array = images.numpy() if images.ndim == 2 else to_uint8(images).movedim(1, -1).numpy()
        with whole_file(out) as file:
            array, names = array[..., 0] if array.shape[-1] == 1 else array, np.array(module.class_names, dtype=str)
            np.savez_compressed(file, images=array, labels=labels.numpy(), class_names=names)
    else:
        write_folder(out, images)
    print(f"lit-gen: {len(images)} samples of {options.source} in {out}{told_of(replaced)}")


def target_of(options: argparse.Namespace) -> tuple[Path, str]:
    """Where to write, and what: a ``video``, or as `kind_of`.

    Raises:
        ValueError: for a file that can't be written, or two of them.
    """
    if options.video is None:
        out = free_name(Path("samples.png")) if options.out is None else Path(options.out)
        return out, kind_of(out)
    if options.out is not None:
        raise ValueError(f"--video {options.video}: in the place of --out {options.out}, leave one of them out")
    try:
        check_video(options.video, options.fps)
    except ValueError as error:
        raise ValueError(f"--video {error}") from None
    return Path(options.video), "video"


def grid_of(images: Tensor, labels: Tensor, module: Any, options: argparse.Namespace) -> Tensor:
    """The images as one picture ``(C, H, W)``: paths in rows, and classes that were asked for in rows of their own."""
    in_rows = options.interpolate or options.direction is not None
    row = options.steps if in_rows and options.video is None else None
    if options.labels is None:
        return image_grid(images, columns=row)
    return class_grid(images, labels, module.class_names, row)


def told_of(replaced: bool) -> str:
    """What to add where a file was there."""
    return ", in the place of the file that was there" if replaced else ""


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
        raise ValueError(f"{options.source}: {an(module)} has no latents to sample")
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
            raise ValueError(f"--{name} {value}: {an(module)} has no such option of its samples")
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


def write_folder(folder: Path, images: Tensor) -> None:
    """PNGs in the models' own size, 00000.png and on. The folder appears whole or not at all."""
    with whole_folder(folder) as unfinished:
        for i, image in enumerate(to_uint8(images)):
            save_png(unfinished / f"{i:05d}.png", image)
