"""The lecture's pages, in its order, and how one of them is drawn."""

import logging
import time
import warnings
from importlib import import_module
from pathlib import Path

import torch

from style import save

PAGES = (
    "learned",
    "optimal_discriminator",
    "saturation",
    "mode_collapse",
    "saddle_points",
    "disjoint_supports",
    "duality",
    "cycle",
    "elbo_gap",
    "gradient_variance",
    "latent_collapse",
)


def write(page: str, seed: int, out: Path) -> str:
    """Draw one page's figure; returns what it measured."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.process_time()
    figure, told = import_module(page).draw(seed)
    save(figure, out / f"{page}.png")
    return f"{page} ({time.process_time() - start:.0f} CPU s): {told}"
