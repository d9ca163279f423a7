"""Every stack of stochastic layers, one line a class, dense and of feature maps."""

import torch
from torch import nn

from lit_gen.distributions import normal_log_prob
from lit_gen.networks import BottomUp, Hierarchy, Ladder, TopDown

STACKS = [
    BottomUp,
    Ladder,
    TopDown,
]
DENSE = {"latent_dims": (4, 3, 2), "widths": (7, 6, 5)}
MAPS = {**DENSE, "convolutional": True}


def build(cls, shape=(1, 8, 8), seed=0, **options) -> Hierarchy:
    torch.manual_seed(seed)
    hierarchy = cls(shape, shape, **{**DENSE, **options}).double()
    for parameter in hierarchy.parameters():
        if not parameter.any():  # a top-down posterior begins at the prior: here it shall not
            nn.init.normal_(parameter, std=0.3)
    return hierarchy


def draw(hierarchy, samples=3, images=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, images, hierarchy.latent_dim, generator=generator, dtype=torch.float64)
    return noise, torch.rand(images, *hierarchy.image_shape, generator=generator, dtype=torch.float64)


def log_density(z, distribution):
    return normal_log_prob(z, *distribution).flatten(2).sum(2)
