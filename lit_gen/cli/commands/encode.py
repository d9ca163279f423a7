"""``lit-gen encode``: images as points of a model's latent space."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lit_gen.cli.commands.embedding import add_embedding, labelled, load, read_for
from lit_gen.cli.commands.sources import tell
from lit_gen.cli.words import CommandParser, an
from lit_gen.files import whole_file
from lit_gen.models.autoencoding import AutoencodingModel


def parser() -> CommandParser:
    """The command's options."""
    command = CommandParser("encode", "Embeds images as means of q(z|x), or as an autoencoder's latents.")
    add_embedding(command, "a VAE or an autoencoder", named=True)
    add = command.add_argument
    add("--root", help="folder or file of data that are named")
    add("--flip", action="store_true", help="in a folder: encode the training images' mirror images too")
    add("--indices", action="store_true", help="in a folder: the numbers of codes, in the place of latents")
    add(
        "--noise",
        type=int,
        metavar="SEED",
        help="in a folder: samples of Gaussian latents, in the place of their means",
    )
    add(
        "--out",
        default="latents.npz",
        help="an .npz with latents (N, D) or (N, channels, h, w), labels (N,), class_names (K,); any other name is a "
        "new folder of an autoencoder's latents or codes, which LatentDataModule takes",
    )
    return command


def run(arguments: list[str]) -> None:
    """Embed all images of the source, in its order, and write them.

    Raises:
        ValueError: for a model that doesn't encode, images of another shape, or an option that doesn't go with --out.
        FileNotFoundError: if there is no such model or file.
    """
    options = parser().parse_args(arguments)
    folder = Path(options.out).suffix != ".npz"
    _check(options, folder)
    module = load(options)
    if not hasattr(module, "encode"):
        raise ValueError(f"{options.source}: {an(module)} has no encoder")
    (_write_folder if folder else _write_arrays)(module, options)


def _check(options: argparse.Namespace, folder: bool) -> None:
    """Refuse what doesn't go together, before anything is loaded."""
    if not folder:
        for name in ("flip", "indices", "root", "noise"):
            if (given := getattr(options, name)) not in (None, False):
                told = "" if given is True else f" {given}"
                raise ValueError(f"--{name}{told}: for a folder of latents, and --out {options.out} is an .npz")
        if not Path(options.data).exists():
            from lit_gen.cli.commands.named_data import is_named

            if is_named(options.data):
                raise ValueError(
                    f"{options.data}: data that are named are written to a folder, and --out {options.out} is an .npz; "
                    "give --out a name without a suffix, or a path in the place of the data's name"
                )
        return
    out = Path(options.out)
    if out.suffix in (".npy", ".pt", ".safetensors", ".zip"):
        raise ValueError(f"--out {out}: an .npz file, or a name without a suffix for a folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: exists already and is not empty; a folder of latents is made anew")
    if options.split not in (None, "train"):
        raise ValueError(f"--split {options.split}: a folder holds the training split, whose latents give the scale")
    if options.values != "uint8":
        raise ValueError(f"--values {options.values}: a folder is of 8-bit images")
    if options.size is not None:
        raise ValueError(f"--size {options.size}: in a folder images are of the size that the model takes")


def _write_folder(module: Any, options: argparse.Namespace) -> None:
    """Latents or codes of all splits, with the codec."""
    from lit_gen.cli.commands.latents_writer import LatentsWriter
    from lit_gen.cli.commands.named_data import divided_data, named_data

    if not isinstance(module, AutoencodingModel):
        raise ValueError(f"--out {options.out}: an .npz file; a folder is of an autoencoder's maps, not {an(module)}'s")
    data = named_data(options) or divided_data(options, module.image_shape)
    splits = ("train",) if options.split else ("train", "val", "test")
    try:
        writer = LatentsWriter(module, options.source, data, splits, options.indices, options.flip, options.noise)
    except ValueError as error:
        raise ValueError(f"{options.data}: {error}") from None
    writer.write(options.out)
    tell(data)
    counts = ", ".join(f"{split} {len(dataset):,}" for split, dataset in writer.datasets.items())
    what = "codes" if options.indices else "latents"
    print(f"lit-gen: {what} of {' x '.join(map(str, writer.shape))} ({counts}) in {options.out}")


def _write_arrays(module: Any, options: argparse.Namespace) -> None:
    """Latents of one split as an .npz."""
    options.split = options.split or "test"
    data = read_for(module, options)
    latents, classes = [], []
    for images, given, labels in labelled(data, module, options):
        modelled = module.from_pictures(images.to(module.device))
        latents.append(module.encode(modelled, *(y.to(module.device) for y in given)).float().cpu())
        classes.append(labels)
    z = torch.cat(latents)
    with whole_file(options.out) as file:
        names = np.array(data.class_names, dtype=str)
        np.savez_compressed(file, latents=z.numpy(), labels=torch.cat(classes).numpy(), class_names=names)
    tell(data)
    print(f"lit-gen: {len(z)} latents of {' x '.join(map(str, z.shape[1:]))} dimensions in {options.out}")
