"""Mean and covariance of feature vectors, streamed in float64 and pooled over processes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class Moments(NamedTuple):
    """Mean ``(D,)`` and unbiased covariance ``(D, D)`` of feature rows, float64."""

    mean: Tensor
    covariance: Tensor


def pool(parts: Tensor) -> Tensor:
    """The moments of the union of disjoint sets of rows (Chan, Golub & LeVeque 1983).

    With counts n_p, means μ_p and scatters S_p = Σ (x − μ_p)(x − μ_p)ᵀ the union has n = Σ n_p, μ = Σ n_p μ_p / n
    and S = Σ S_p + n_p (μ_p − μ)(μ_p − μ)ᵀ. Unlike sums of raw squares it loses no digits to a mean far from 0.

    Args:
        parts: ``(P, 1 + D, 1 + D)``, each ``[[n_p, μ_p], [·, S_p]]``; empty sets (n_p = 0) are allowed.
    """
    counts, means, scatters = parts[:, 0, 0], parts[:, 0, 1:], parts[:, 1:, 1:]
    count = counts.sum()
    mean = counts @ means / count.clamp(min=1)
    offsets = counts.sqrt()[:, None] * (means - mean)
    pooled = torch.zeros_like(parts[0])
    pooled[0, 0], pooled[0, 1:] = count, mean
    pooled[1:, 1:] = scatters.sum(0) + offsets.T @ offsets
    return pooled


class FeatureMoments(Metric):
    """Streaming count, mean and covariance of feature rows ``(N, D)``, exact to float64.

    The one state is the matrix ``[[n, μ], [·, S]]`` of `pool`, by which batches, metrics and processes alike
    are joined: any chunking and sharding, also uneven or empty, gives the same moments to rounding.

    Example:
        >>> moments = FeatureMoments(num_features=1)
        >>> moments.update(torch.tensor([[1.0], [2.0], [6.0]]))
        >>> moments.count, moments.mean.item(), moments.covariance.item()
        (3, 3.0, 7.0)
    """

    full_state_update = False
    higher_is_better = None
    state: Tensor

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_features = num_features
        empty = torch.zeros(1 + num_features, 1 + num_features, dtype=torch.float64)
        self.add_state("state", empty, dist_reduce_fx=pool)

    def update(self, features: Tensor) -> None:
        """Add rows ``(N, num_features)``; N = 0 adds nothing.

        Raises:
            ValueError: another shape, or a feature that is NaN or infinite.
        """
        if features.ndim != 2 or features.shape[1] != self.num_features:
            raise ValueError(f"features of shape {tuple(features.shape)}: expected (N, {self.num_features})")
        finite = features.isfinite().all(1)
        if not finite.all():
            broken = int((~finite).sum())
            raise ValueError(f"features: {broken} of {len(features)} rows hold NaN or infinite values")
        if len(features) == 0:
            return
        rows = features.to(self.state.device).double()
        batch = torch.zeros_like(self.state)
        batch[0, 0], batch[0, 1:] = len(rows), rows.mean(0)
        centred = rows - batch[0, 1:]
        batch[1:, 1:] = centred.T @ centred
        self.state = pool(torch.stack([self.state, batch]))

    def compute(self) -> Moments:
        """The moments of all processes' rows (a collective: call it on every process)."""
        return Moments(self.mean, self.covariance)

    @property
    def count(self) -> int:
        """Number of rows seen by this process."""
        return int(self.state[0, 0])

    @property
    def mean(self) -> Tensor:
        """Mean ``(D,)`` of this process's rows; at least one is needed."""
        if self.count < 1:
            raise ValueError("mean of 0 feature rows: at least 1 is needed")
        return self.state[0, 1:]

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance ``(D, D)`` (divided by n − 1) of this process's rows; at least two are needed."""
        if self.count < 2:
            raise ValueError(f"covariance of {self.count} feature rows: at least 2 are needed")
        return self.state[1:, 1:] / (self.count - 1)
