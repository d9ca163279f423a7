"""Gaussian latents with a small price (Rombach et al. 2022, arXiv:2112.10752, appendix G)."""

import math

from torch import Tensor

from lit_gen.distributions.gaussian import bound_log_scale, kl_standard_normal, reparametrise
from lit_gen.networks.bottlenecks.base import Bottleneck, Code
from lit_gen.precision import float32_or_better

LIMIT = 10.0  # of |log σ|, up to which it is as the encoder says; diffusers clamps 2 log σ to [-30, 20]


class GaussianBottleneck(Bottleneck):
    """q(z | x) = N(μ, σ²) at each position and channel; z = μ + σ ε in training, μ else.

    The encoder gives μ and log σ². The loss is `kl_weight` KL(q ‖ N(0, I)) in nats of an image, over the number
    C H W of an image's values, as the reconstruction's is a mean over them: the proportions of arXiv:2112.10752, whose
    terms are both sums.

    Args:
        image_shape: `(C, H, W)`.
        channels: of z.
        kl_weight: the paper's 1e-6 leaves several nats a dimension.

    Raises:
        ValueError: for no channel, or a weight that is negative or not finite.
    """

    def __init__(self, image_shape: tuple[int, ...], channels: int = 4, kl_weight: float = 1e-6):
        super().__init__(image_shape)
        if channels < 1:
            raise ValueError(f"channels={channels}: GaussianBottleneck needs at least 1")
        if not 0 <= kl_weight < math.inf:
            raise ValueError(f"kl_weight={kl_weight}: a finite number, at least 0")
        self.channels, self.encoded_channels, self.kl_weight = channels, 2 * channels, kl_weight

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        """ε of all positions and channels."""
        return (self.channels, height, width)

    @float32_or_better
    def posterior(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ, each `(N, channels, h, w)`, of the encoder's maps `(N, 2 channels, h, w)`."""
        mean, log_variance = encoded.chunk(2, 1)
        return mean, bound_log_scale(log_variance / 2, LIMIT)

    @float32_or_better
    def forward(self, encoded: Tensor, noise: Tensor | None = None) -> Code:
        """z, and the weighted KL."""
        mean, log_scale = self.posterior(encoded)
        latents = mean if noise is None else reparametrise(mean, log_scale, noise)
        kl = kl_standard_normal(mean, log_scale).flatten(1).sum(1).mean()
        loss = self.kl_weight * kl / math.prod(self.image_shape)
        return Code(latents, loss, kl / math.log(2), {"kl_nats": kl})
