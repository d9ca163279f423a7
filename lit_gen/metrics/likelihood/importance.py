"""log p(x) of latent variable models by importance sampling, in log space throughout."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_gen.precision import to_float64


class ImportanceWeights:
    """The weights w_k = p(x, z_k) / q(z_k | x) of N images, as running sums over k: no sample is kept.

    log p(x) is estimated by log (1/K) Σ_k w_k, in expectation a bound from below that tightens with K (Burda et al.
    2016, arXiv:1509.00519, section 3). Weights of −∞ count as samples.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._log_sum = self._log_sum_of_squares = torch.tensor(-math.inf)

    def add(self, log_weights: Tensor) -> None:
        """Add ``(k, N)`` log weights in nats."""
        log_weights = to_float64(log_weights)
        self.samples += len(log_weights)
        new, squares = log_weights.logsumexp(0), (2 * log_weights).logsumexp(0)
        self._log_sum = torch.logaddexp(self._log_sum.to(new), new)
        self._log_sum_of_squares = torch.logaddexp(self._log_sum_of_squares.to(new), squares)

    @property
    def log_likelihood(self) -> Tensor:
        """log (1/K) Σ w_k in nats, ``(N,)`` float64."""
        return self._log_sum - math.log(self.samples)

    @property
    def effective_sample_size(self) -> Tensor:
        """(Σ w)² / Σ w², ``(N,)``: from 1, where one sample carries all the weight, to K, where all weigh the same.

        0 where no sample has any weight.
        """
        size = torch.exp(2 * self._log_sum - self._log_sum_of_squares)
        return torch.where(self._log_sum == -math.inf, 0.0, size)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(Σ_k w_k)² / Σ_k w_k², ``(N,)``, of log weights ``(K, N)`` (Kong 1992)."""
    weights = ImportanceWeights()
    weights.add(log_weights)
    return weights.effective_sample_size


def importance_sampling(
    log_weights: Callable[[Tensor], Tensor], noise: Callable[[int], Tensor], samples: int, chunk: int
) -> ImportanceWeights:
    """Weights of ``samples`` samples of z, of which no more than ``chunk`` are in memory at once.

    Args:
        log_weights: The model's log w ``(k, N)`` for noise ``(N, k, noise_dim)``.
        noise: Makes the next k samples' noise ``(N, k, noise_dim)``.
        samples: K.
        chunk: Largest k.

    Raises:
        ValueError: for a number below 1.
    """
    if samples < 1 or chunk < 1:
        raise ValueError(f"samples={samples}, chunk={chunk}: at least 1 sample is needed")
    weights = ImportanceWeights()
    while weights.samples < samples:
        weights.add(log_weights(noise(min(chunk, samples - weights.samples))))
    return weights


class MeanPerImage(Metric):
    """Mean of one number an image, summed in float64 over batches and processes: no batch counts more than its images.

    Example:
        >>> nll = MeanPerImage()
        >>> nll.update(torch.tensor([80.0, 90.0]))
        >>> nll.update(torch.tensor([100.0]))
        >>> nll.compute().item()
        90.0
    """

    full_state_update = False
    higher_is_better = None
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add images' values ``(N,)``; N = 0 adds nothing."""
        self.total = self.total + values.to(self.total.device).double().sum()
        self.count = self.count + values.numel()

    def compute(self) -> Tensor:
        """The mean over all processes' images (a collective); NaN without any."""
        return self.total / self.count
