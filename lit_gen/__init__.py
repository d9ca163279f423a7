"""lit-gen: generative models for PyTorch Lightning.

Names are imported on first use, so that ``import lit_gen`` is instant and its networks stay free of Lightning.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lit_gen.moved import keep_old_names

if TYPE_CHECKING:
    from lit_gen.modules import (
        CUT,
        GAN,
        IWAE,
        VAE,
        VQGAN,
        VQVAE,
        WGAN,
        WGANGP,
        Autoencoder,
        AutoencoderKL,
        CodePrior,
        CycleGAN,
        GenerativeModule,
        HierarchicalVAE,
        Pix2Pix,
    )
    from lit_gen.pretrained import from_diffusers, from_pretrained, list_pretrained, push_to_hub, save_pretrained
    from lit_gen.running import evaluate, fit

__version__ = "0.1.0"

keep_old_names()

_HOMES = {
    "GAN": "lit_gen.modules",
    "WGAN": "lit_gen.modules",
    "WGANGP": "lit_gen.modules",
    "VAE": "lit_gen.modules",
    "IWAE": "lit_gen.modules",
    "VQGAN": "lit_gen.modules",
    "VQVAE": "lit_gen.modules",
    "Autoencoder": "lit_gen.modules",
    "AutoencoderKL": "lit_gen.modules",
    "CUT": "lit_gen.modules",
    "CodePrior": "lit_gen.modules",
    "CycleGAN": "lit_gen.modules",
    "Pix2Pix": "lit_gen.modules",
    "GenerativeModule": "lit_gen.modules",
    "HierarchicalVAE": "lit_gen.modules",
    "evaluate": "lit_gen.running",
    "fit": "lit_gen.running",
    "from_diffusers": "lit_gen.pretrained",
    "from_pretrained": "lit_gen.pretrained",
    "list_pretrained": "lit_gen.pretrained",
    "push_to_hub": "lit_gen.pretrained",
    "save_pretrained": "lit_gen.pretrained",
}

__all__ = [
    "CUT",
    "GAN",
    "IWAE",
    "VAE",
    "VQGAN",
    "VQVAE",
    "WGAN",
    "WGANGP",
    "Autoencoder",
    "AutoencoderKL",
    "CodePrior",
    "CycleGAN",
    "GenerativeModule",
    "HierarchicalVAE",
    "Pix2Pix",
    "evaluate",
    "fit",
    "from_diffusers",
    "from_pretrained",
    "list_pretrained",
    "push_to_hub",
    "save_pretrained",
]


if not TYPE_CHECKING:  # else a checker takes every unknown name for Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'lit_gen' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
