"""Layers that let a discriminator compare the samples of a batch, so that it notices a generator's lack of variety.

They see one process's batch, or one of its parts under ``accumulate``.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from lit_gen.networks.base import at_least_one
from lit_gen.precision import float32_or_better

Minibatch = Literal["none", "stddev", "discrimination"]
"""The name of what a discriminator compares within a batch."""


class MinibatchStdDev(nn.Module):
    """Appends the batch's mean standard deviation (Karras et al. 2018, arXiv:1710.10196, section 3).

    The standard deviation of every feature and position over the batch, averaged to one number, becomes one more
    constant feature map, or entry of a vector.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C + 1, H, W)`, or `(N, D)` to `(N, D + 1)`."""
        deviation = _mean_deviation(x).to(x.dtype)
        return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], dim=1)


class MinibatchDiscrimination(nn.Module):
    """Appends each sample's closeness to its batch (Salimans et al. 2016, arXiv:1606.03498, section 3.2).

    With Mᵢ = T xᵢ of `num_kernels` rows of `kernel_dim`, the features are o(xᵢ)_b = Σⱼ exp(−‖Mᵢ_b − Mⱼ_b‖₁), the
    sum over the whole batch, j = i with its 1 too. Memory grows with N² `num_kernels` `kernel_dim`.

    Args:
        in_features: D.
        num_kernels: features appended.
        kernel_dim: dimension in which distances are taken.

    Raises:
        ValueError: for sizes below 1.
    """

    def __init__(self, in_features: int, num_kernels: int = 32, kernel_dim: int = 5):
        super().__init__()
        at_least_one(self, in_features=in_features, num_kernels=num_kernels, kernel_dim=kernel_dim)
        self.num_kernels = num_kernels
        self.project = nn.Linear(in_features, num_kernels * kernel_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, D)` to `(N, D + num_kernels)`."""
        closeness = _closeness(self.project(x).unflatten(1, (self.num_kernels, -1))).to(x.dtype)
        return torch.cat([x, closeness], dim=1)


BATCH_COMPARISONS = (MinibatchStdDev, MinibatchDiscrimination)


def compare_vectors(minibatch: Minibatch, features: int) -> tuple[list[nn.Module], int]:
    """The layer of that name for vectors `(N, features)`, none for "none", and the features behind it.

    Raises:
        ValueError: for another name.
    """
    match minibatch:
        case "none":
            return [], features
        case "stddev":
            return [MinibatchStdDev()], features + 1
        case "discrimination":
            layer = MinibatchDiscrimination(features)
            return [layer], features + layer.num_kernels
    raise ValueError(f"minibatch={minibatch!r}: 'none', 'stddev' or 'discrimination'")


@float32_or_better
def _mean_deviation(x: Tensor) -> Tensor:
    # 1e-8 keeps the derivative finite where all samples agree.
    return (x.var(0, unbiased=False) + 1e-8).sqrt().mean()


@float32_or_better
def _closeness(m: Tensor) -> Tensor:
    return torch.exp(-(m[:, None] - m[None]).abs().sum(3)).sum(1)
