"""``lit-gen encode``: images as points of a model's latent space."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lit_gen.cli.commands.labels import labels_for
from lit_gen.cli.commands.sources import add_reading, read_source, tell
from lit_gen.cli.words import CommandParser
from lit_gen.files import whole_file
from lit_gen.pretrained.loading import from_pretrained

BATCH = 500  # images at once


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    text = "Embeds images as means of q(z|x), or as an autoencoder's latents."
    command = CommandParser("encode", text)
    command.add_argument(
        "source", help="a checkpoint of a VAE or an autoencoder, a folder of save_pretrained, or a shipped name"
    )
    command.add_argument(
        "images", help="a folder, .zip or shards of images, an .npz or .npy file, or a checkpoint (its data)"
    )
    command.add_argument("--split", default="test", choices=("train", "val", "test"), help="of data with splits (test)")
    command.add_argument("--size", type=int, help="side to scale image files to (antialiased, centre crop)")
    command.add_argument("--values", default="uint8", choices=("uint8", "unit", "signed"), help="range of the images")
    add_reading(command)
    command.add_argument("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    command.add_argument("--device", default="cpu", help="where the network runs, e.g. cuda (cpu)")
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
    module: Any = from_pretrained(options.source, trusted=options.trust, device=options.device, training=False)
    if not hasattr(module, "encode"):
        raise ValueError(f"{options.source}: a {type(module).__name__} has no encoder")
    data = read_source(options.images, options.split, options.values, options.size, (), options.alpha, options.white)
    if tuple(data.image_shape) != module.image_shape:
        raise ValueError(f"{options.images}: images of shape {tuple(data.image_shape)}, not {module.image_shape}")
    own = labels_for(module, data, options.images)
    dataset, latents, classes = data.dataset(options.split), [], []
    for start in range(0, len(dataset), BATCH):
        images, labels = dataset.__getitems__(list(range(start, min(start + BATCH, len(dataset)))))
        images = data.to_float(images).to(module.device)
        given = () if own is None else (own[labels].to(module.device),)
        latents.append(module.encode(images, *given).float().cpu())
        classes.append(labels)
    z = torch.cat(latents)
    with whole_file(options.out) as file:
        names = np.array(data.class_names, dtype=str)
        np.savez_compressed(file, latents=z.numpy(), labels=torch.cat(classes).numpy(), class_names=names)
    tell(data)
    print(f"lit-gen: {len(z)} latents of {' x '.join(map(str, z.shape[1:]))} dimensions in {options.out}")
