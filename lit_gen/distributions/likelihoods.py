"""Likelihoods p(x | z): each owns the meaning of the decoder's output and the random variable it models."""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.distributions.gaussian import bound_log_scale, normal_log_prob
from lit_gen.precision import float32_or_better

BIN_WIDTH = 2 / 255  # of 8-bit pixels scaled to [-1, 1]


class Likelihood(nn.Module, ABC):
    """p(x | z) given by the decoder's output.

    Images are `(*, C, H, W)` in [-1, 1], points `(*, D)`; parameters are `(*, *parameter_shape)`. Leading
    dimensions broadcast, so K samples of z a datum `(K, N, ...)` meet the data `(N, ...)` without a copy.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
    """

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__()
        self.image_shape = tuple(image_shape)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Shape that the decoder emits for one datum."""
        return self.image_shape

    @abstractmethod
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """Turn images into the random variable x that this likelihood models.

        Args:
            images: in [-1, 1], or points.
            noise: uniform in [0, 1), of the images' shape.
        """

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over a datum's dimensions: `(N,)`, or `(K, N)` for K samples of z."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """E[x | z] as images in [-1, 1], or points."""

    @abstractmethod
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Draw x ~ p(x | z), by inversion, as images in [-1, 1], or points.

        Args:
            params: the decoder's output.
            noise: uniform in [0, 1), of the images' shape.
        """

    def _sum(self, log_probs: Tensor) -> Tensor:
        return log_probs.flatten(-len(self.image_shape)).sum(-1)


class Bernoulli(Likelihood):
    """Independent binary pixels, with logits as parameters: log p(x | z) = Σ x log s(l) + (1 − x) log s(−l).

    Args:
        image_shape: `(C, H, W)`.
        binarization: how a grey value p in [0, 1] becomes x: "dynamic" draws x = 1 with probability p at
            every presentation (arXiv:1509.00519), "threshold" takes x = 1 where p > 1/2, "none" keeps x = p.
            With "none" the sum is the negative cross-entropy, not the log probability of grey values: compare
            it with nothing else.

    Raises:
        ValueError: for points, which are not bounded, or an unknown `binarization`.
    """

    def __init__(self, image_shape: tuple[int, ...], binarization: Literal["dynamic", "threshold", "none"] = "none"):
        super().__init__(image_shape)
        if len(self.image_shape) != 3:
            raise ValueError(
                f"image_shape={self.image_shape}: Bernoulli models pixels (C, H, W); use Gaussian for points"
            )
        if binarization not in ("dynamic", "threshold", "none"):
            raise ValueError(f"binarization={binarization!r}: Bernoulli knows 'dynamic', 'threshold' and 'none'")
        self.binarization = binarization

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """x in {0, 1}, or in [0, 1] without binarization."""
        p = (images + 1) / 2
        if self.binarization == "none":
            return p
        threshold = noise if self.binarization == "dynamic" else 0.5
        return (p > threshold).to(p.dtype)

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of x in [0, 1] under logits `params`."""
        return self._sum(x * F.logsigmoid(params) + (1 - x) * F.logsigmoid(-params))

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """2 s(l) − 1."""
        return 2 * torch.sigmoid(params) - 1

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Black (−1) or white (1) pixels."""
        return 2 * (torch.sigmoid(params) > noise).to(params.dtype) - 1


class Gaussian(Likelihood):
    """Independent Gaussian values in the images' own units, [-1, 1].

    With `sigma` None the decoder emits, for every value, a mean and a raw log σ, which passes
    `lit_gen.distributions.bound_log_scale`; with a number it emits the mean alone.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        sigma: the fixed standard deviation, or None to learn σ(z).
        dequantise: add to 8-bit images uniform noise of one bin's width, 2/255, centred, so that a density is
            not fitted to a lattice (arXiv:1511.01844). Points stay as they are.

    Raises:
        ValueError: for a `sigma` that is not positive and finite.
    """

    def __init__(self, image_shape: tuple[int, ...], sigma: float | None = None, dequantise: bool = True):
        super().__init__(image_shape)
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"sigma={sigma}: Gaussian needs a positive, finite number, or None to learn it")
        self.sigma = sigma
        self.dequantise = dequantise

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """`image_shape`; with learned σ twice the channels or dimensions, means first, raw log σ after."""
        channels, *size = self.image_shape
        return (channels if self.sigma is not None else 2 * channels, *size)

    def mean_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Split the decoder's output into mean and log σ, both of the images' shape."""
        if self.sigma is not None:
            return params, params.new_full((), math.log(self.sigma))
        mean, raw = params.chunk(2, dim=-len(self.image_shape))
        return mean, bound_log_scale(raw)

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """The images, dequantised, or the points."""
        if self.dequantise and len(self.image_shape) == 3:
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
        # torch.rand's float32 lie on multiples of 2⁻²⁴, zero included: half a step keeps Φ⁻¹ finite
        standard = torch.special.ndtri(noise.clamp(2**-25, 1 - 2**-24))
        return self._clip(mean + torch.exp(log_scale) * standard)

    def _clip(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1) if len(self.image_shape) == 3 else x


def auto_likelihood(image_shape: tuple[int, ...]) -> Likelihood:
    """`Bernoulli` for images, `Gaussian` with learned σ for points."""
    return (Bernoulli if len(image_shape) == 3 else Gaussian)(image_shape)
