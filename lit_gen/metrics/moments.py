"""Mean and covariance of feature vectors, streamed in float64 and pooled over processes."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lit_gen.precision import float64_device

BLOCK = 1024  # rows that enter the covariance in one product
LARGEST = 2**31  # bytes that the covariance of one set, or the rows that stand for it, may take


class NotFiniteError(ValueError):
    """Features, and so most likely images, that are NaN or infinite."""


class Moments:
    """Mean and covariance of feature rows in float64, with a factor of the covariance that is computed once.

    Args:
        mean: ``(D,)``.
        covariance: ``(D, D)``, unbiased (divided by n − 1), positive semi-definite.
        count: n; 0 where it is not known (another program's statistics).
    """

    def __init__(self, mean: Tensor, covariance: Tensor | None, count: int = 0, rows: Tensor | None = None) -> None:
        self.mean, self.count = mean, count
        self._covariance, self._rows = covariance, rows

    @classmethod
    def of_rows(cls, rows: Tensor) -> "Moments":
        """The moments of rows ``(n, D)``, which are kept: few of them are a better factor than any computed one."""
        if len(rows) == 0:
            raise ValueError("mean of 0 feature rows: at least 1 is needed")
        rows = rows.to(float64_device(rows.device))
        return cls(rows.mean(0, dtype=torch.float64), None, len(rows), rows)

    def to(self, device: torch.device | str) -> "Moments":
        """The same on a device; itself, with its factor, if it is there."""
        mean = self.mean.to(device)
        if mean is self.mean:
            return self
        covariance, rows = (None if x is None else x.to(device) for x in (self._covariance, self._rows))
        return Moments(mean, covariance, self.count, rows)

    @property
    def has_covariance(self) -> bool:
        """Whether the covariance is there or small enough to be made of the rows."""
        return self._covariance is not None or 8 * len(self.mean) ** 2 <= LARGEST

    @cached_property
    def covariance(self) -> Tensor:
        """``(D, D)``; at least two rows are needed."""
        if self._covariance is not None:
            return self._covariance
        if not self.has_covariance:
            dim = len(self.mean)
            raise ValueError(
                f"a covariance of {dim:,} features takes {8 * dim**2 / 2**30:,.1f} GiB, which is too large"
            )
        return self._scaled.T @ self._scaled

    @cached_property
    def variance(self) -> Tensor:
        """The covariance's trace, a scalar."""
        return torch.linalg.vector_norm(self._scaled).square() if self._covariance is None else self._covariance.trace()

    @cached_property
    def factor(self) -> Tensor:
        """L ``(D, r)`` with L Lᵀ the covariance: of the rows if n ≤ D, else by Cholesky, or of eigenvectors.

        Eigenvalues within rounding of 0 count as 0: their square roots would not be small.
        """
        if self._covariance is None and self.count <= len(self.mean):
            return self._scaled.T
        rounding = len(self.mean) * torch.finfo(torch.float64).eps
        triangle, failed = torch.linalg.cholesky_ex(self.covariance)
        if not failed and triangle.diagonal().square().min() > rounding * self.covariance.diagonal().max():
            return triangle
        values, vectors = torch.linalg.eigh(self.covariance)
        kept = values > rounding * values[-1].clamp(min=0)
        return vectors[:, kept] * values[kept].sqrt()

    @cached_property
    def _scaled(self) -> Tensor:
        if self._rows is None or self.count < 2:
            raise ValueError(f"covariance of {self.count} feature rows: at least 2 are needed")
        return self._rows.to(torch.float64, copy=True).sub_(self.mean).div_((self.count - 1) ** 0.5)


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
    return _matrix(count, mean, scatters.sum(0) + offsets.T @ offsets)


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """`pool` of two, either of which may be the count of 0 alone."""
    if len(first) == 1 or len(second) == 1:
        return second if len(first) == 1 else first
    return pool(torch.stack([first, second]))


def _matrix(count: Tensor, mean: Tensor, scatter: Tensor) -> Tensor:
    matrix = scatter.new_zeros(1 + len(mean), 1 + len(mean))
    matrix[0, 0], matrix[0, 1:], matrix[1:, 1:] = count, mean, scatter
    return matrix


class FeatureMoments(Metric):
    """Streaming count, mean and covariance of feature rows ``(N, D)``, exact to float64.

    Rows wait until a block of 1024 is together, the first ones also until there are more than D: fewer rows than
    features are never a D × D matrix, which for pixels would be larger than any memory. A block then enters the matrix
    ``[[n, μ], [·, S]]`` of `pool`, by which batches, metrics and processes alike are joined: any chunking and sharding,
    also uneven or empty, gives the same moments to rounding. Processes add up their matrices, once, however many rows
    they have seen; while there are few rows these travel in its place.

    Example:
        >>> moments = FeatureMoments(num_features=1)
        >>> moments.update(torch.tensor([[1.0], [2.0], [6.0]]))
        >>> moments.count, moments.mean.item(), moments.covariance.item()
        (3, 3.0, 7.0)
    """

    full_state_update = False
    higher_is_better = None
    state: Tensor
    rows: list[Tensor]

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_features = num_features
        self.few = max(num_features, BLOCK)
        # A count of 0 alone until the first block enters.
        self.add_state("state", torch.zeros(1, 1, dtype=torch.float64), dist_reduce_fx=pool)
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, features: Tensor) -> None:
        """Add rows ``(N, num_features)``; N = 0 adds nothing.

        Raises:
            ValueError: another shape, or more rows of more features than memory is spent on (`check_size`).
            NotFiniteError: a feature that is NaN or infinite.
        """
        check_features(features, self.num_features)
        if len(features) == 0:
            return
        check_size(self.count + len(features), self.num_features)
        self.rows.append(features.to(self.state.device, copy=True))
        if sum(map(len, self.rows)) > (self.few if self.state[0, 0] == 0 else BLOCK):
            self._pool_rows()

    def compute(self) -> Moments:
        """The moments of all processes' rows (a collective: call it on every process)."""
        return self._moments()

    @property
    def count(self) -> int:
        """Number of rows seen by this process."""
        return int(self.state[0, 0]) + sum(map(len, self.rows))

    @property
    def mean(self) -> Tensor:
        """Mean ``(D,)`` of this process's rows; at least one is needed."""
        return self._moments().mean

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance ``(D, D)`` (divided by n − 1) of this process's rows; at least two are needed."""
        return self._moments().covariance

    def _moments(self) -> Moments:
        if self.state[0, 0] == 0:
            return Moments.of_rows(self._waiting())
        self._pool_rows()
        count = int(self.state[0, 0])
        return Moments(self.state[0, 1:], self.state[1:, 1:] / (count - 1), count)

    def _waiting(self) -> Tensor:
        return torch.cat(self.rows) if self.rows else self.state.new_empty(0, self.num_features)

    def _pool_rows(self) -> None:
        rows = self._waiting().double()
        if len(rows) > 0:
            centred = rows - rows.mean(0)
            block = _matrix(self.state.new_tensor(len(rows)), rows.mean(0), centred.T @ centred)
            self.state, self.rows = _joined(self.state, block), []

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        self.state = _joined(incoming_state["state"], self.state)
        self.rows = [*incoming_state["rows"], *self.rows]

    def _sync_dist(
        self, dist_sync_fn: Callable[..., list[Tensor]] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        """`pool` as sums over processes; the rows themselves are gathered while they are few."""
        group = process_group or self.process_group
        total = summed(self.state.new_tensor(self.count), group)
        if total <= self.few:
            self.rows = dist_sync_fn(self._waiting().double(), group)
            return
        self._pool_rows()
        if len(self.state) == 1:  # a process without rows
            self.state = self.state.new_zeros(1 + self.num_features, 1 + self.num_features)
        count, mean, scatter = self.state[0, 0], self.state[0, 1:], self.state[1:, 1:]
        joined = summed(count * mean, group) / total
        offset = count.sqrt() * (mean - joined)
        self.state = _matrix(total, joined, summed(scatter + torch.outer(offset, offset), group))


def check_features(features: Tensor, num_features: int, name: str = "features") -> None:
    """Refuse what is no ``(N, num_features)`` of finite numbers, by its argument's name.

    Raises:
        ValueError: another shape.
        NotFiniteError: a feature that is NaN or infinite.
    """
    if features.ndim != 2 or features.shape[1] != num_features:
        raise ValueError(f"{name} of shape {tuple(features.shape)}: expected (N, {num_features})")
    finite = features.isfinite().all(1)
    if not finite.all():
        broken = int((~finite).sum())
        raise NotFiniteError(f"{name}: {broken} of {len(features)} rows hold NaN or infinite values")


def check_size(count: int, num_features: int) -> None:
    """Refuse more images than the memory for their covariance allows: rows up to as many as features, else D².

    Raises:
        ValueError: naming the bytes, and how many images are few enough.
    """
    needed = 8 * (count * num_features if count <= max(num_features, BLOCK) else num_features**2)
    if needed > LARGEST:
        raise ValueError(
            f"the covariance of {count:,} images in {num_features:,} features takes {needed:,} bytes, of at most "
            f"{LARGEST:,}: take {LARGEST // (8 * num_features):,} images, or an extractor of fewer features"
        )


def summed(values: Tensor, group: Any | None = None) -> Tensor:
    """The sum over all processes of a group, by one ``all_reduce``."""
    values = values.clone()
    torch.distributed.all_reduce(values, group=group)
    return values
