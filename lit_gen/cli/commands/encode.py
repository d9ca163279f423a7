"""``lit-gen encode``: images as points of a model's latent space."""

from pathlib import Path

import numpy as np
import torch

from lit_gen.cli.commands.embedding import add_embedding, labelled, load, read_for
from lit_gen.cli.commands.sources import tell
from lit_gen.cli.words import CommandParser
from lit_gen.files import whole_file


def parser() -> CommandParser:
    """The command's options."""
    command = CommandParser("encode", "Embeds images as means of q(z|x), or as an autoencoder's latents.")
    add_embedding(command, "a VAE or an autoencoder")
    command.add_argument(
        "--out",
        default="latents.npz",
        help="an .npz with latents (N, D) or (N, channels, h, w), labels (N,), class_names (K,)",
    )
    return command


def run(arguments: list[str]) -> None:
    """Embed all images of the source, in its order, and write them.

    Raises:
        ValueError: for a model that doesn't encode, or images of another shape.
        FileNotFoundError: if there is no such model or file.
    """
    options = parser().parse_args(arguments)
    if Path(options.out).suffix != ".npz":
        raise ValueError(f"--out {options.out}: an .npz file")
    module = load(options)
    if not hasattr(module, "encode"):
        raise ValueError(f"{options.source}: a {type(module).__name__} has no encoder")
    data = read_for(module, options)
    latents, classes = [], []
    for images, given, labels in labelled(data, module, options):
        latents.append(module.encode(images.to(module.device), *given).float().cpu())
        classes.append(labels)
    z = torch.cat(latents)
    with whole_file(options.out) as file:
        names = np.array(data.class_names, dtype=str)
        np.savez_compressed(file, latents=z.numpy(), labels=torch.cat(classes).numpy(), class_names=names)
    tell(data)
    print(f"lit-gen: {len(z)} latents of {' x '.join(map(str, z.shape[1:]))} dimensions in {options.out}")
