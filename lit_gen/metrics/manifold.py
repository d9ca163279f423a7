"""Scores by nearest neighbours: precision, recall, density, coverage, authenticity, memorisation, diversity."""

from functools import cached_property

import torch
from torch import Tensor

from lit_gen.metrics.balls import Held, held, squared_distances
from lit_gen.metrics.nearest import Nearest, screened_nearest
from lit_gen.precision import float64_device, to_float64

BLOCK = 1024  # queries by rows of one block of distances, which bounds the memory


def nearest(queries: Tensor, rows: Tensor, k: int, themselves: bool = False) -> tuple[Tensor, Tensor]:
    """Distances ``(N, k)``, ascending, and positions ``(N, k)`` of the k nearest rows of each query.

    Neighbours are found by |x|² − 2 x·y + |y|² in float64 about the rows' mean, and their distances then computed
    anew from the differences: the short form loses all digits where x and y are nearly the same. Equal differences
    give equal distances, since the rows themselves are taken, not those about the mean.

    Args:
        queries: ``(N, D)``.
        rows: ``(M, D)``.
        k: neighbours, at most M (M − 1 with `themselves`).
        themselves: the queries are the rows, and none is its own neighbour.
    """
    available = len(rows) - themselves
    if not 1 <= k <= available:
        raise ValueError(f"{k} nearest neighbours among {available} rows: too few")
    queries, rows = (x.to(float64_device(x.device)) for x in (queries, rows))
    centred, others_centred = _centred(queries, rows)
    distances, positions = [], []
    for start, block in enumerate(centred.split(BLOCK)):
        own = queries[start * BLOCK : (start + 1) * BLOCK].double()
        best, found = block.new_zeros(len(block), 0), torch.zeros(len(block), 0, dtype=torch.int64, device=block.device)
        for offset, others in enumerate(others_centred.split(BLOCK)):
            squared = squared_distances(block, others)
            if themselves and start == offset:
                squared.fill_diagonal_(torch.inf)
            values, where = squared.topk(min(k, len(others)), largest=False)
            best, found = torch.cat([best, values], 1), torch.cat([found, where + offset * BLOCK], 1)
            best, order = best.topk(min(k, best.shape[1]), largest=False)
            found = found.gather(1, order)
        exact = torch.stack([(own - rows[column].double()).norm(dim=1) for column in found.T], 1)
        exact, order = exact.sort(1)
        distances.append(exact)
        positions.append(found.gather(1, order))
    return torch.cat(distances), torch.cat(positions)


class Neighbours:
    """Samples and data, and who is near whom; each question is answered once and serves all scores.

    Args:
        samples: features ``(N, D)``.
        real: features ``(M, D)``.
        k: neighbours known of every row within its own set.
    """

    def __init__(self, samples: Tensor, real: Tensor, k: int = 5) -> None:
        if min(len(samples), len(real)) <= k:
            raise ValueError(
                f"{len(samples)} samples and {len(real)} data: scores by {k} nearest neighbours need {k + 1} of each"
            )
        self.samples, self.real, self.k = samples, real, k

    @cached_property
    def among_samples(self) -> Tensor:
        """Distances ``(N, k)`` of each sample to its nearest others."""
        return self._among(self.samples)

    @cached_property
    def among_real(self) -> Tensor:
        """Distances ``(M, k)`` of each datum to its nearest others."""
        return self._among(self.real)

    @cached_property
    def of_samples(self) -> tuple[Tensor, Tensor]:
        """Distances and positions ``(N, 2)`` of each sample's two nearest data."""
        return self._between[0] if self._between else nearest(self.samples, self.real, 2)

    @cached_property
    def of_real(self) -> Tensor:
        """Distances ``(M,)`` of each datum's nearest sample."""
        return (self._between[1] if self._between else nearest(self.real, self.samples, 1))[0][:, 0]

    @cached_property
    def held(self) -> Held:
        """Samples x and data y within balls to the first k neighbours of the other set."""
        return held(self.samples, self.real, self.among_samples, self.among_real)

    def _among(self, rows: Tensor) -> Tensor:
        screened = screened_nearest(rows, rows, self.k)
        return (screened[0] if screened else nearest(rows, rows, self.k, themselves=True))[0]

    @cached_property
    def _between(self) -> tuple[Nearest, Nearest] | None:
        """Each sample's two nearest data and each datum's nearest sample, where one pass finds both."""
        return screened_nearest(self.samples, self.real, 2, 1)

    def precision_recall(self, k: int = 3) -> dict[str, float]:
        """``precision``: share of samples among the data; ``recall``: share of data among the samples.

        A set's manifold is the union of balls about its features that reach to their k-th nearest neighbour
        (Kynkäänniemi et al. 2019, arXiv:1904.06991). In [0, 1], 1 is best.
        """
        return {"precision": _share(self.held.x[:, k - 1] > 0), "recall": _share(self.held.y[:, k - 1] > 0)}

    def density_coverage(self, k: int = 5) -> dict[str, float]:
        """``density``: mean number of the data's balls about a sample over k; ``coverage``: share of balls in use.

        (Naeem et al. 2020, arXiv:2002.09797.) Both are about 1 at best; density may be larger, and is not thrown off
        by single outliers of the data. Of an exact copy of the data density is (k + 1) / k.
        """
        balls, samples = self.held.x[:, k - 1], self.held.used[:, k - 1]
        return {"density": float(balls.double().mean()) / k, "coverage": _share(samples > 0)}

    def memorisation(self) -> dict[str, float]:
        """``authenticity`` and ``memorised``: is a sample nearer to a datum than it should be by chance?

        authenticity: share of samples that are farther from their nearest datum than it is from its own nearest one
        (Alaa et al. 2022, arXiv:2102.08921); about a half or more for new samples, 0 for copies.
        memorised: share of samples less than a third as far from the nearest datum as from the second nearest
        (Yoon et al. 2023; Gu et al., arXiv:2310.02664); about 0 for new samples, 1 for copies.
        Against held-out data both speak of chance; to find what a model copied take the training split.
        """
        distances, positions = self.of_samples
        own = self.among_real[positions[:, 0], 0]
        return {
            "authenticity": _share(distances[:, 0] > own),
            "memorised": _share(3 * distances[:, 0] <= distances[:, 1]),
        }

    def diversity(self) -> dict[str, float]:
        """Mean distance of two samples over the mean distance of two data: 1 is best, 0 are equal samples."""
        real = mean_pairwise_distance(self.real)
        if real == 0:
            raise ValueError("diversity: all the data's features are the same")
        return {"diversity": mean_pairwise_distance(self.samples) / real}

    def two_sample_test(self) -> dict[str, float]:
        """Leave-one-out accuracy of telling samples from data by the nearest neighbour in their union.

        (Lopez-Paz & Oquab 2017, arXiv:1610.06545; the two classes apart Xu et al. 2018, arXiv:1806.07755.) About a half
        is best; 1 if samples and data lie apart, 0 for an exact copy of the data. With unequal numbers of samples and
        data the accuracies of the two are averaged. A neighbour on a tie counts as one of the other set.
        """
        sample_found = _share(self.among_samples[:, 0] < self.of_samples[0][:, 0])
        real_found = _share(self.among_real[:, 0] < self.of_real)
        return {
            "nn_accuracy": (sample_found + real_found) / 2,
            "nn_accuracy_samples": sample_found,
            "nn_accuracy_real": real_found,
        }


def mean_pairwise_distance(rows: Tensor) -> float:
    """Mean Euclidean distance of two different rows of ``(N, D)``, N ≥ 2."""
    if len(rows) < 2:
        raise ValueError(f"pairwise distance of {len(rows)} rows: at least 2 are needed")
    rows, _ = _centred(rows, rows)
    total = rows.new_zeros(())
    for i, block in enumerate(rows.split(BLOCK)):
        for j, others in enumerate(rows.split(BLOCK)):
            if j < i:
                continue
            distances = squared_distances(block, others).sqrt_()
            total += distances.fill_diagonal_(0).sum() if i == j else 2 * distances.sum()
    return float(total / (len(rows) * (len(rows) - 1)))


def _centred(queries: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    queries, rows = to_float64(queries), to_float64(rows)
    mean = rows.mean(0)
    return queries - mean, rows - mean


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
