"""Folders of latents and codes of the digits, by small autoencoders that nobody has trained."""

from functools import partial
from pathlib import Path

import torch

import lit_gen
from datamodules import DigitsDataModule
from lit_gen.cli.commands.latents_writer import LatentsWriter
from lit_gen.models import VQVAE, AutoencoderKL
from lit_gen.networks import ConvDecoder, ConvEncoder, GaussianBottleneck, VectorQuantizer

NETWORKS = {
    "encoder": partial(ConvEncoder, widths=(4, 8), blocks=1, groups=2, attention=False),
    "decoder": partial(ConvDecoder, widths=(4, 8), blocks=1, groups=2, attention=False),
}
LATENTS, CODES = (2, 4, 4), 300  # shape, and codes that a byte doesn't hold


def codec(kind="latents", seed=0):
    """For images (1, 8, 8)."""
    torch.manual_seed(seed)
    if kind == "codes":
        return VQVAE((1, 8, 8), partial(VectorQuantizer, codes=CODES, channels=3), **NETWORKS).eval()
    return AutoencoderKL((1, 8, 8), partial(GaussianBottleneck, channels=2), discriminator=None, **NETWORKS).eval()


def written(folder, data, model, codes=False):
    """Latents or codes of data by a model, in a new folder."""
    lit_gen.save_pretrained(model, f"{folder}-codec")
    splits = ("train", "val", "test")
    LatentsWriter(model, f"{folder}-codec", data, splits, codes, flip=not codes).write(folder)


def encoded(folder, kind="latents", flip=True, seed=0, splits=("train", "val", "test")):
    """A folder `kind` of encoded digits, and beside it the codec."""
    model, folder = codec(kind, seed), Path(folder)
    lit_gen.save_pretrained(model, folder / f"codec_{kind}_{seed}")
    made = lit_gen.from_pretrained(folder / f"codec_{kind}_{seed}", training=False)
    writer = LatentsWriter(
        made, str(folder / f"codec_{kind}_{seed}"), DigitsDataModule(), splits, kind == "codes", flip
    )
    writer.write(folder / f"{kind}_{seed}")
    return folder / f"{kind}_{seed}"
