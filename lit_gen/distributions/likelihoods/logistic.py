"""Discretised logistic distributions of 8-bit pixels, single and in mixtures (PixelCNN++, arXiv:1701.05517)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.distributions.gaussian import bound_log_scale
from lit_gen.distributions.likelihoods.base import LEVELS, EightBitLikelihood, inside, to_images
from lit_gen.precision import float32_or_better, logsumexp


class DiscretisedLogistic(EightBitLikelihood):
    """Independent 8-bit values: a logistic distribution of mean μ and scale s, rounded to the levels 0 ... 255.

    The lowest and the highest level take all that lies beyond them, and no other level does.

    Args:
        image_shape: `(C, H, W)`.

    Raises:
        ValueError: for points.
    """

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Twice the channels: means in the images' units first, raw log s after."""
        channels, *size = self.image_shape
        return (2 * channels, *size)

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of levels `x`."""
        return self._sum(level_log_prob(x, *params.chunk(2, dim=-3)))

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """The expectation over the 256 levels."""
        return to_images(expected_level(*params.chunk(2, dim=-3)))

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """The level that holds the logistic distribution's quantile of `noise`."""
        return to_images(quantile_level(noise, *params.chunk(2, dim=-3)))


class DiscretisedLogisticMixture(EightBitLikelihood):
    """Pixels that are mixtures of discretised logistics: one component for a pixel's channels together.

    log p = Σ over pixels of log Σ_k π_k Π_c P(x_c | μ_kc, s_kc). The shared component is what ties the channels of a
    colour; PixelCNN++'s means that depend on the channels before (its section 2.2) are left out, so that `mean` is the
    true expectation, in closed form, and all channels are drawn at once.

    Args:
        image_shape: `(C, H, W)`.
        components: logistics a pixel.

    Raises:
        ValueError: for points, or less than one component.
    """

    def __init__(self, image_shape: tuple[int, ...], components: int = 10):
        super().__init__(image_shape)
        if components < 1:
            raise ValueError(f"components={components}: DiscretisedLogisticMixture needs at least 1")
        self.components = components

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """`components` · (1 + 2C) channels: the weights' logits, the means, the raw log s."""
        channels, *size = self.image_shape
        return (self.components * (1 + 2 * channels), *size)

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of levels `x`."""
        log_weights, mean, raw = self._split(params)
        levels = level_log_prob(x.unsqueeze(-4), mean, raw).sum(-3)
        return logsumexp(log_weights + levels, -3).sum((-2, -1))

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """The expectation over the 256 levels."""
        log_weights, mean, raw = self._split(params)
        return to_images((log_weights.exp().unsqueeze(-3) * expected_level(mean, raw)).sum(-4))

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Draw the component by the first channel's noise, whose position within the component's share draws on."""
        noise, params = self._broadcast(noise, params)
        log_weights, mean, raw = self._split(params)
        ends = log_weights.exp().cumsum(-3)
        ends = ends / ends[..., -1:, :, :]
        starts = F.pad(ends, (0, 0, 0, 0, 1, -1))
        first, others = noise.split([1, self.image_shape[0] - 1], dim=-3)
        index = (ends <= first).sum(-3, keepdim=True)
        start, end = (edges.gather(-3, index) for edges in (starts, ends))
        noise = torch.cat([(first - start) / (end - start), others], -3)
        index = index.expand_as(noise).unsqueeze(-4)
        mean, raw = (parameter.gather(-4, index).squeeze(-4) for parameter in (mean, raw))
        return to_images(quantile_level(noise, mean, raw))

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights `(*, K, H, W)`; means and raw log scales, each `(*, K, C, H, W)`."""
        k, c = self.components, self.image_shape[0]
        logits, mean, raw = params.split([k, k * c, k * c], dim=-3)
        return logits.log_softmax(-3), mean.unflatten(-3, (k, c)), raw.unflatten(-3, (k, c))


# One level is one unit: there the bins' edges k ± ½ are exact, so that neighbours share them to the last digit.


def _in_levels(mean: Tensor, raw_log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """μ and 1/s in units of a level."""
    return (mean + 1) * 127.5, torch.exp(-bound_log_scale(raw_log_scale)) / 127.5


def level_log_prob(level: Tensor, mean: Tensor, raw_log_scale: Tensor) -> Tensor:
    """log P of a rounded logistic, elementwise, in nats.

    With the bin's edges at a = (k + ½ − μ)/s and b = (k − ½ − μ)/s in units of the scale, and s(·) the sigmoid,

        s(a) − s(b) = s(a) s(−b) (1 − exp(b − a)),

    so that nothing cancels: the logarithm and its gradient are exact and finite however far k lies from μ. At
    level 0 the edge b is −∞, at level 255 a is ∞.

    Args:
        level: 0 ... 255, as floating-point numbers.
        mean: in the images' units, [-1, 1].
        raw_log_scale: passes `lit_gen.distributions.bound_log_scale`, in the same units.
    """
    mean, inverse_scale = _in_levels(mean, raw_log_scale)
    above = F.logsigmoid((level + 0.5 - mean) * inverse_scale)
    below = F.logsigmoid((mean - level + 0.5) * inverse_scale)
    width = torch.log(-torch.expm1(-inverse_scale))
    lowest, highest = level < 0.5, level > LEVELS - 1.5
    return (
        torch.where(highest, 0.0, above) + torch.where(lowest, 0.0, below) + torch.where(lowest | highest, 0.0, width)
    )


def expected_level(mean: Tensor, raw_log_scale: Tensor) -> Tensor:
    """E[k] = Σ P(k > j) over the levels j = 0 ... 254, elementwise."""
    mean, inverse_scale = _in_levels(mean, raw_log_scale)
    mean, inverse_scale = torch.broadcast_tensors(mean, inverse_scale)
    total = torch.zeros_like(mean)
    for j in range(LEVELS - 1):
        total += torch.sigmoid((mean - (j + 0.5)) * inverse_scale)
    return total


def quantile_level(noise: Tensor, mean: Tensor, raw_log_scale: Tensor) -> Tensor:
    """The level drawn by uniform noise, elementwise."""
    mean, inverse_scale = _in_levels(mean, raw_log_scale)
    return (mean + torch.logit(inside(noise)) / inverse_scale).round().clamp(0, LEVELS - 1)
