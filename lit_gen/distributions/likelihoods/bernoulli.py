"""Bernoulli and continuous Bernoulli pixels, by logits."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.distributions.likelihoods.base import LEVELS, Likelihood
from lit_gen.precision import float32_or_better


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
        self._require_pixels()
        if binarization not in ("dynamic", "threshold", "none"):
            raise ValueError(f"binarization={binarization!r}: Bernoulli knows 'dynamic', 'threshold' and 'none'")
        self.binarization = binarization
        self.discrete = binarization != "none"
        self.protocol = binarization if self.discrete else "grey"

    @property
    def needs_noise(self) -> bool:
        """For dynamic binarization."""
        return self.binarization == "dynamic" or not self._observes_as(Bernoulli)

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """x in {0, 1}, or in [0, 1] without binarization."""
        p = (images + 1).div_(2)
        if self.binarization == "none":
            return p
        threshold = noise if self.binarization == "dynamic" else 0.5
        return p.gt_(threshold)  # writes 0 and 1 in p's own type, without a mask in between

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of x in [0, 1] under logits `params`."""
        x, params = torch.broadcast_tensors(x, params)
        return -self._sum(F.binary_cross_entropy_with_logits(params, x, reduction="none"))

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The logit of each pixel's mean, which is kept 0.001 away from 0 and 1, where it would be infinite."""
        return torch.logit(mean, eps=1e-3)

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """2 s(l) − 1."""
        return 2 * torch.sigmoid(params) - 1

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Black (−1) or white (1) pixels."""
        return 2 * (torch.sigmoid(params) > noise).to(params.dtype) - 1


class ContinuousBernoulli(Likelihood):
    """Independent grey values x in [0, 1] of density C(λ) λˣ (1 − λ)¹⁻ˣ (arXiv:1907.06845), with logits l of λ.

    In the logit it is the exponential density cut to [0, 1], l eˡˣ / (eˡ − 1). What a Bernoulli on grey values leaves
    out is the constant C = l / tanh(l/2), which is 2 at λ = 1/2.

    Args:
        image_shape: `(C, H, W)`.
        dequantise: take x = (level + noise) / 256 from a level 0 ... 255, so that a density is not fitted to a
            lattice (arXiv:1511.01844); else x = level / 255 as in the paper, where black and white pixels have
            densities without bound.

    Raises:
        ValueError: for points.
    """

    def __init__(self, image_shape: tuple[int, ...], dequantise: bool = True):
        super().__init__(image_shape)
        self._require_pixels()
        self.dequantise = dequantise

    @property
    def log_bin_width(self) -> float | None:
        """log 1/256 if dequantised."""
        return -math.log(LEVELS) if self.dequantise else None

    @property
    def needs_noise(self) -> bool:
        """To dequantise."""
        return self.dequantise or not self._observes_as(ContinuousBernoulli)

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """x in [0, 1]."""
        p = (images + 1) / 2
        return (p * (LEVELS - 1) + noise) / LEVELS if self.dequantise else p

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of x in [0, 1] under logits `params`."""
        return self._sum((x - 0.5) * params - log_sinhc(params / 2))

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """The image of E[x] = ½ + ½ (coth(l/2) − 2/l)."""
        return self._image(0.5 + 0.5 * langevin(params / 2))

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """The image of x = log(1 + u (eˡ − 1)) / l, by the mirrored form for l > 0."""
        u = torch.where(params > 0, 1 - noise, noise)
        slope = torch.where(params == 0, 1.0, -params.abs())
        x = torch.where(params == 0, u, torch.log1p(u * torch.expm1(slope)) / slope).clamp(0, 1)
        return self._image(torch.where(params > 0, 1 - x, x))

    def _image(self, x: Tensor) -> Tensor:
        p = (LEVELS * x - 0.5) / (LEVELS - 1) if self.dequantise else x
        return (2 * p - 1).clamp(-1, 1)


# log(sinh h / h) = Σ c_n h²ⁿ with c_n = 2²ⁿ⁻¹ B₂ₙ / (n (2n)!)
_SERIES = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775)
_SMALL = 0.25  # up to here the series is exact to 1e-14, and from here its closed form keeps its digits


def log_sinhc(h: Tensor) -> Tensor:
    """log(sinh h / h), elementwise, without overflow and with its gradient `langevin` also near 0."""
    small = h.abs() < _SMALL
    size = torch.where(small, 1.0, h.abs())  # where() sends a gradient, of 0 · ∞, into the branch not taken
    closed = size + torch.log1p(-torch.exp(-2 * size)) - torch.log(2 * size)
    square = torch.where(small, h, 0.0).square()
    series = sum(c * square**n for n, c in enumerate(_SERIES, start=1))
    return torch.where(small, series, closed)


def langevin(h: Tensor) -> Tensor:
    """coth h − 1/h, elementwise: odd, h/3 near 0, ±1 far away."""
    small = h.abs() < _SMALL
    large = torch.where(small, 1.0, h)
    series = sum(2 * n * c * h ** (2 * n - 1) for n, c in enumerate(_SERIES, start=1))
    return torch.where(small, series, 1 / torch.tanh(large) - 1 / large)
