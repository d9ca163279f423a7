"""A likelihood."""

import math

from torch import Tensor

from lit_gen.distributions import Likelihood
from lit_gen.precision import float32_or_better


class Laplace(Likelihood):
    """log p(x|z) = −Σ |x − μ(z)| / b − D log 2b: absolute errors in the place of squared ones."""

    def __init__(self, image_shape: tuple[int, ...], scale: float = 0.1):
        super().__init__(image_shape)
        self.scale = scale  # b

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """x are the images themselves."""
        return images

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats ``(K, N)`` of x ``(N, *image_shape)`` under the means ``(K, N, *image_shape)``."""
        deviations = (x - params).abs().flatten(-len(self.image_shape)).sum(-1)
        return -deviations / self.scale - math.prod(self.image_shape) * math.log(2 * self.scale)

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """μ, within [-1, 1]."""
        return params.clamp(-1, 1)

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """μ + b sign(u − ½) · −log(1 − 2 |u − ½|), by inversion of the distribution function."""
        centred = noise.clamp(1e-6, 1 - 1e-6) - 0.5
        return (params - self.scale * centred.sign() * (1 - 2 * centred.abs()).log()).clamp(-1, 1)
