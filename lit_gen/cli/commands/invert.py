"""``lit-gen invert``: latents whose image is a given one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_gen.cli.commands.embedding import add_embedding, batches, joined, labelled, load, read_for
from lit_gen.cli.commands.labels import labels_said
from lit_gen.cli.commands.sources import tell
from lit_gen.cli.words import CommandParser, note
from lit_gen.files import whole_file
from lit_gen.latent_space import Inversion, Search, check_invertible, invert
from lit_gen.pictures import paired_grid, save_png

EACH = 16  # images whose PSNR is printed one by one
SHOWN = 64  # images in the grid


def parser() -> CommandParser:
    """The command's options."""
    command = CommandParser("invert", "Latents whose image under a model is a given one, or as near as may be.")
    add_embedding(command, "a GAN, a VAE or an autoencoder")
    command.add_argument("-n", type=int, help="the first so many images (all)")
    command.add_argument(
        "--labels", nargs="+", help="classes of the images, by name or number, taken in turn, where the data don't say"
    )
    command.add_argument("--starts", type=int, default=Search.starts, help="starts of each image (%(default)s)")
    command.add_argument(
        "--rounds", type=int, default=Search.rounds, help="searches of an image that isn't done (%(default)s)"
    )
    command.add_argument("--steps", type=int, default=Search.steps, help="of a round, at most (%(default)s)")
    command.add_argument(
        "--psnr", type=float, default=Search.target_psnr, help="dB at which an image is done (%(default)g)"
    )
    command.add_argument(
        "--prior", type=float, default=0.0, help="w in the loss, mean((G(z) - x)^2) + w mean(z^2); keeps z probable (0)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the own samples that the starts come from (0)")
    command.add_argument(
        "--out",
        default="latents.npz",
        help="an .npz with latents (N, D) or (N, channels, h, w), psnr (N,), labels (N,), class_names (K,); beside it "
        "a .png of the first 64 images, each row above that of their reconstructions",
    )
    return command


def run(arguments: list[str]) -> None:
    """Find the latents and write them.

    Raises:
        ValueError: for a model without latents, images of another shape, or an option out of range.
        FileNotFoundError: if there is no such model or file.
    """
    options = parser().parse_args(arguments)
    out = Path(options.out)
    if out.suffix != ".npz":
        raise ValueError(f"--out {options.out}: an .npz file")
    if options.n is not None and options.n < 1:
        raise ValueError(f"-n {options.n}: at least 1 image is needed")
    search = search_of(options)
    module = load(options)
    try:
        check_invertible(module)
    except ValueError as error:
        raise ValueError(f"{options.source}: {error}") from None
    data = read_for(module, options)
    images, given, labels, class_names = select(data, module, options)
    found = invert(module, images, given, search, _told(len(images)))
    with whole_file(out) as file:
        latents, psnr, classes = (x.cpu().numpy() for x in (found.latents, found.psnr, labels))
        names = np.array(class_names, dtype=str)
        np.savez_compressed(file, latents=latents, psnr=psnr, labels=classes, class_names=names)
    tell(data)
    for line in summary(found):
        print(f"lit-gen: {line}")
    picture = save_beside(out, images, found)
    print(f"lit-gen: {len(images)} latents of {options.source} in {out}{picture}")


def search_of(options: argparse.Namespace) -> Search:
    """How to look, as the options say.

    Raises:
        ValueError: naming the option that is out of range.
    """
    named = {"target_psnr": "psnr", "prior_weight": "prior"}
    try:
        return Search(
            starts=options.starts, rounds=options.rounds, steps=options.steps, target_psnr=options.psnr,
            prior_weight=options.prior, seed=options.seed,
        )  # fmt: skip
    except ValueError as error:
        name, _, told = str(error).partition("=")
        raise ValueError(f"--{named.get(name, name)} {told}") from None


def select(data: Any, module: Any, options: argparse.Namespace) -> tuple[Tensor, Tensor | None, Tensor, Sequence[str]]:
    """Images in [-1, 1], the labels that the model takes, those that are written, and the names of these."""
    said = labels_said(options.labels, module, options.source)
    if said is None:
        images, given, labels = joined(list(labelled(data, module, options)))
        names = data.class_names
    else:
        images, _, labels = joined(list(batches(data, options)))
        given = labels = torch.tensor(said).repeat(-(-len(images) // len(said)))[: len(images)]
        names = module.class_names
    part = slice(options.n)
    return images[part], None if given is None else given[part], labels[part], names


def summary(found: Inversion) -> list[str]:
    """The PSNR of each of a few images, or how those of many are distributed."""
    values = found.psnr.double().cpu()
    if len(values) <= EACH:
        return [f"image {i}: {value:.2f} dB" for i, value in enumerate(values.tolist())]
    low, middle = values.quantile(torch.tensor([0.05, 0.5], dtype=values.dtype)).tolist()
    return [
        f"PSNR of {len(values)} images: median {middle:.2f} dB, 5 % of them below {low:.2f}, least {values.min():.2f}; "
        f"{100 * (values > 40).double().mean():.1f} % above 40 dB"
    ]


def save_beside(out: Path, images: Tensor, found: Inversion) -> str:
    """Write the grid, if these are pictures; where it is, in words."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        return ""
    path = out.with_suffix(".png")
    save_png(path, paired_grid(images[:SHOWN], found.images[:SHOWN]), "images, each row above its reconstructions")
    return f", the first {min(SHOWN, len(images))} reconstructions in {path}"


def _told(count: int) -> Any:
    """Says how far a search of many images is."""

    def tell_done(done: int) -> None:
        if done < count:
            note(f"{done} of {count} images")

    return tell_done
