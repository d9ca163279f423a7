"""Drawing from logits: sharpened or cut off, and by the quantile of a normal number."""

import math

import torch
from torch import Tensor

from lit_gen.precision import float32_or_better, to_float64

LARGEST = 1 - 2**-40  # quantile


def check_sharpening(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse what `sharpened` can't do.

    Raises:
        ValueError: naming the first argument that is out of range.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature}: a positive, finite number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}: a number of most probable codes, at least 1, or null for all")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: a share of the probability in (0, 1], or null for all")


@float32_or_better
def sharpened(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits `(N, K)` over a temperature, −∞ for all but the k most probable, and of these all but the nucleus.

    The nucleus is the smallest set of most probable codes whose probability is p or more (Holtzman et al. 2020,
    arXiv:1904.09751), after temperature and top_k. Of equally probable ones the first come first.
    """
    logits = logits / temperature
    if top_k is None and top_p is None:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered[..., top_k:] = -math.inf
    if top_p is not None:
        probability = ordered.softmax(-1)
        ordered[probability.cumsum(-1) - probability >= top_p] = -math.inf
    return torch.empty_like(ordered).scatter_(-1, order, ordered)


def quantile(logits: Tensor, noise: Tensor) -> Tensor:
    """The codes int64 `(N,)` at the quantiles Φ(ε) of the distributions of logits `(N, K)`, ε `(N,)`.

    Of ε ~ N(0, 1) they are samples, exactly: distribution functions are summed in float64.
    """
    sums = to_float64(logits).softmax(-1).cumsum(-1)
    u = torch.special.ndtr(to_float64(noise)).clamp(max=LARGEST)[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, u, right=True)[:, 0].to(logits.device)
