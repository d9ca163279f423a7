"""Kernel distance of two sets of features."""

import torch
from torch import Tensor

from lit_gen.metrics.kernel_terms import mean_kernel, usual_scatters
from lit_gen.precision import float64_device, full_float32

BLOCK = 512  # rows by rows of one block of the kernel matrix, which bounds the memory


Scatter = Tensor | None


@full_float32()
def kernel_distance(
    samples: Tensor, real: Tensor, within_real: float | None = None, scatters: tuple[Scatter, Scatter] = (None, None)
) -> float:
    """Squared maximum mean discrepancy of kernel (x·y / D + 1)³, unbiased, over all pairs (arXiv:1801.01401).

    Σ_{i≠j} k(xᵢ, xⱼ) / m(m−1) + Σ_{i≠j} k(yᵢ, yⱼ) / n(n−1) − 2 Σ_{ij} k(xᵢ, yⱼ) / mn

    0 on average for two sets of one distribution, so single values may be negative. Products are taken in the features'
    type about their mean, and what the mean adds in float64: an offset of all features costs no digits. Of many rows on
    a CPU the cubes of products about the mean are taken in bfloat16 where that provably changes no mean of the kernel
    by more than 1e-6 of its size.

    Args:
        samples: features ``(m, D)``, m ≥ 2.
        real: features ``(n, D)``, n ≥ 2.
        within_real: `kernel_within` of ``real``, where it is known already.
        scatters: Σ (x − μ)(x − μ)ᵀ ``(D, D)`` in float64 of ``samples`` and of ``real``, where they are known already.
    """
    m, n = len(samples), len(real)
    if m < 2 or n < 2:
        raise ValueError(f"kernel distance of {m} samples and {n} data: at least 2 of each are needed")
    samples, real = (rows.to(float64_device(rows.device)) for rows in (samples, real))
    if found := usual_scatters(samples, real, scatters):
        scatters = found
    within = kernel_within(samples, scatters[0])
    within += kernel_within(real, scatters[1]) if within_real is None else within_real
    between = mean_kernel(samples, real, *found) if found else None
    return within - 2 * (_mean_between(samples, real) if between is None else between)


@full_float32()
def kernel_within(rows: Tensor, scatter: Scatter = None) -> float:
    """The kernel's mean over all pairs of different rows ``(n, D)``, n ≥ 2, each pair computed once.

    Args:
        rows: features.
        scatter: of the rows, as `kernel_distance` has it.

    Raises:
        ValueError: for fewer rows.
    """
    if len(rows) < 2:
        raise ValueError(f"kernel of pairs among {len(rows)} rows: at least 2 are needed")
    rows = rows.to(float64_device(rows.device))
    found = usual_scatters(rows, rows, (scatter, scatter))
    mean = mean_kernel(rows, rows, *found) if found else None
    return _mean_within(rows) if mean is None else mean


def kernel_distance_of_subsets(
    samples: Tensor, real: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of `kernel_distance` over random subsets: the protocol of the paper's section 4.

    Args:
        samples: features ``(m, D)``, m ≥ `size`.
        real: features ``(n, D)``, n ≥ `size`.
        subsets: number of pairs of subsets.
        size: features of one subset, drawn without replacement.
        seed: of the subsets.
    """
    if min(len(samples), len(real)) < size or size < 2 or subsets < 1:
        raise ValueError(
            f"kernel distance of {subsets} subsets of {size} needs {size} of {len(samples)} samples and "
            f"{len(real)} data; at least 1 subset of at least 2"
        )
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x, y = (rows[torch.randperm(len(rows), generator=generator)[:size].to(rows.device)] for rows in (samples, real))
        values.append(kernel_distance(x, y))
    distances = torch.tensor(values, dtype=torch.float64)
    return float(distances.mean()), float(distances.std(correction=0))


def _blocks(rows: Tensor, mean: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows about a mean c, and their part (c·(x − c) + c·c / 2) / D + ½ of x·y / D + 1 in float64, block by block."""
    centred = rows.double() - mean
    part = (centred @ mean + mean @ mean / 2) / len(mean) + 0.5
    return list(zip(centred.to(rows.dtype).split(BLOCK), part.split(BLOCK), strict=True))


def _kernel_sum(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> Tensor:
    products = (x[0] @ y[0].T).double() / x[0].shape[1]
    return _cubed(products.add_(x[1][:, None]).add_(y[1])).sum()


def _cubed(base: Tensor) -> Tensor:
    return base.square().mul_(base)


def _mean_between(samples: Tensor, real: Tensor) -> float:
    mean = samples.double().mean(0)
    others = _blocks(real, mean)
    total = sum(_kernel_sum(block, other) for block in _blocks(samples, mean) for other in others)
    return float(total) / (len(samples) * len(real))


def _mean_within(rows: Tensor) -> float:
    blocks = _blocks(rows, rows.double().mean(0))
    total = rows.new_zeros((), dtype=torch.float64)
    for i, block in enumerate(blocks):
        itself = _cubed(block[0].double().square().sum(1) / rows.shape[1] + 2 * block[1])
        total += _kernel_sum(block, block) - itself.sum()
        total += 2 * sum((_kernel_sum(block, other) for other in blocks[i + 1 :]), torch.zeros_like(total))
    return float(total) / (len(rows) * (len(rows) - 1))
