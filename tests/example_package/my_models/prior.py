"""A prior."""

import torch
from torch import nn

from lit_gen.distributions import DiagonalNormal, Prior, bound_log_scale
from lit_gen.distributions.priors import Encode


class LearnedNormal(Prior):
    """N(μ, diag σ²) with μ and σ learned with the decoder."""

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...]):
        super().__init__(latent_dim, image_shape)
        self.mean, self.raw_log_scale = (nn.Parameter(torch.zeros(latent_dim)) for _ in range(2))

    def forward(self, encode: Encode) -> DiagonalNormal:
        """The distribution for these μ and σ."""
        return DiagonalNormal(self.mean, bound_log_scale(self.raw_log_scale))
