"""Gaussian values, by where their σ comes from: the decoder, a number, a parameter, or the errors themselves."""

import math

import torch
from torch import Tensor, nn

from lit_gen.distributions.gaussian import bound_log_scale, normal_log_prob
from lit_gen.distributions.likelihoods.base import BIN_WIDTH, Likelihood, inside
from lit_gen.precision import float32_or_better


class Gaussian(Likelihood):
    """Independent Gaussian values in the images' own units, [-1, 1].

    With `sigma` None the decoder emits, for every value, a mean and a raw log σ, which passes
    `lit_gen.distributions.bound_log_scale`; with a number it emits the mean alone.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        sigma: the fixed standard deviation, or None to learn σ(z).
        dequantise: add to 8-bit images uniform noise of one bin's width, 2/255, centred, so that a density is
            not fitted to a lattice (arXiv:1511.01844). Points, and data without bounds, stay as they are.

    Raises:
        ValueError: for a `sigma` that is not positive and finite.
    """

    def __init__(self, image_shape: tuple[int, ...], sigma: float | None = None, dequantise: bool = True):
        super().__init__(image_shape)
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"sigma={sigma}: Gaussian needs a positive, finite number, or None to learn it")
        self.sigma = sigma
        self.pixels = len(self.image_shape) == 3
        self.dequantise = dequantise and self.pixels

    def unbind(self) -> None:
        """Add no noise, and clip nothing."""
        self.pixels = self.dequantise = False

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """`image_shape`; with learned σ(z) twice the channels or dimensions, means first, raw log σ after."""
        channels, *size = self.image_shape
        return (channels if self.sigma is not None else 2 * channels, *size)

    @property
    def log_bin_width(self) -> float | None:
        """log 2/255 for dequantised images."""
        return math.log(BIN_WIDTH) if self.dequantise else None

    @property
    def needs_noise(self) -> bool:
        """To dequantise."""
        return self.dequantise or not self._observes_as(Gaussian)

    def mean_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Split the decoder's output into mean and log σ, of shapes that broadcast with the images'."""
        if self.sigma is not None:
            return params, params.new_full((), math.log(self.sigma))
        mean, raw = params.chunk(2, dim=-len(self.image_shape))
        return mean, bound_log_scale(raw)

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """The images, dequantised, or the points."""
        if self.dequantise:
            return images + BIN_WIDTH * (noise - 0.5)
        return images

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of the density in [-1, 1]; for pixels in [0, 255] subtract log 127.5 a value."""
        return self._sum(normal_log_prob(x, *self.mean_and_log_scale(params)))

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """μ, for images clipped to [-1, 1]."""
        return self._clip(self.mean_and_log_scale(params)[0])

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """μ + σ Φ⁻¹(noise), for images clipped to [-1, 1]."""
        mean, log_scale = self.mean_and_log_scale(params)
        return self._clip(mean + torch.exp(log_scale) * torch.special.ndtri(inside(noise)))

    def _clip(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1) if self.pixels else x


class SharedSigmaGaussian(Gaussian):
    """Gaussian values whose σ is a parameter, the same for all z, learned with the decoder (arXiv:2006.13202).

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        per_dimension: a σ for every value of an image, not one for all.
        dequantise: as for `Gaussian`.
    """

    def __init__(self, image_shape: tuple[int, ...], per_dimension: bool = False, dequantise: bool = True):
        super().__init__(image_shape, sigma=None, dequantise=dequantise)
        self.raw_log_sigma = nn.Parameter(torch.zeros(self.image_shape if per_dimension else ()))

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The means': `image_shape`."""
        return self.image_shape

    def mean_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's output, and log σ."""
        return params, bound_log_scale(self.raw_log_sigma)


class OptimalSigmaGaussian(Gaussian):
    """Gaussian values with the one σ that is best for the decoder's means (σ-VAE, arXiv:2006.13202, section 4.3).

    In training σ² is the mean square error of all values of the batch, in all parts and processes together, for which
    the batch's mean log-likelihood is largest; its derivative by σ is 0 there, so none is taken. In evaluation
    σ² is the running mean of those, bias-corrected, so that no score depends on what else is in its batch.
    Before the first training batch σ = 1.

    With importance weights the error that counts is a weighted one: σ is then close to the best only.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        momentum: weight of a training batch in the running mean.
        dequantise: as for `Gaussian`.

    Raises:
        ValueError: for a momentum outside (0, 1].
    """

    running: Tensor

    def __init__(self, image_shape: tuple[int, ...], momentum: float = 0.01, dequantise: bool = True):
        super().__init__(image_shape, sigma=None, dequantise=dequantise)
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum={momentum}: OptimalSigmaGaussian needs a number above 0, at most 1")
        self.momentum = momentum
        self.register_buffer("running", torch.zeros(2))  # decaying sums of the mean squares and of their weights

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The means': `image_shape`."""
        return self.image_shape

    def mean_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's output, and log of the running σ."""
        square, weight = self.running
        return params, _log_sigma(torch.where(weight > 0, square / weight, 1.0))

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of the density in [-1, 1]. In training it follows the errors by `running`."""
        if not self.training:
            return super().log_prob(x, params)
        square, share = (x - params).detach().square().mean(), 1.0
        if self.batch_mean is not None:
            square, share = self.batch_mean(square), self.batch_mean.share
        elif torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(square)
            square /= torch.distributed.get_world_size()
        moved = self.momentum if share == 1 else 1 - (1 - self.momentum) ** share  # parts together as far as the whole
        self.running.lerp_(torch.stack([square, torch.ones_like(square)]).to(self.running.dtype), moved)
        return self._sum(normal_log_prob(x, params, _log_sigma(square)))


def _log_sigma(square: Tensor) -> Tensor:
    return bound_log_scale(0.5 * torch.log(square))
