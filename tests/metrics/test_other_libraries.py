"""Scores of the same features by torchmetrics, scipy and scikit-learn, to 1e-6."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from lit_gen.metrics import Comparison, FeatureBank, ScoreOptions, compute_scores

N, DIM, CLASSES = 200, 12, 12
NAMES = ["fd", "kid", "inception_score", "precision_recall", "density_coverage", "diversity", "nn_test"]


class Rows(nn.Module):
    """Images (N, 1, 1, D) are their own features."""

    num_features = DIM

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def images(seed: int, scale: float = 1, shift: float = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(N, 1, 1, DIM, dtype=torch.float64, generator=generator) * scale + shift
    return rows.float().double()  # banks keep rows in float32


@pytest.fixture(scope="module")
def sides():
    return images(0, 0.8, 0.3), images(1)


@pytest.fixture(scope="module")
def features(sides):
    found = []
    for rows in sides:
        bank = FeatureBank(DIM, CLASSES)
        bank.update(rows.flatten(1), torch.arange(N), rows.flatten(1))
        found.append(bank.compute())
    return found


@pytest.fixture(scope="module")
def ours(features):
    return compute_scores(NAMES, Comparison(*features))


@pytest.mark.filterwarnings("ignore")
def test_torchmetrics(sides, ours):
    samples, real = sides
    fid = FrechetInceptionDistance(Rows(), input_img_size=(1, 1, DIM)).set_dtype(torch.float64)
    kid = KernelInceptionDistance(Rows(), subsets=1, subset_size=N).set_dtype(torch.float64)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(samples, real=False)
    assert ours["fd"] == pytest.approx(float(fid.compute()), rel=1e-6)
    assert ours["kid"] == pytest.approx(float(kid.compute()[0]), rel=1e-6)
    inception = InceptionScore(Rows(), splits=1).set_dtype(torch.float64)
    parts = []
    for i in range(10):  # its own parts are of a random order
        inception.reset()
        inception.update(samples[i::10])
        parts.append(float(inception.compute()[0]))
    assert ours["inception_score"] == pytest.approx(np.mean(parts), rel=1e-6)


def test_scipy_and_scikit_learn(sides, ours):
    samples, real = (rows.flatten(1).numpy() for rows in sides)

    def radii(rows, k):  # a row is its own first neighbour
        return NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(rows).kneighbors(rows)[0][:, k]

    def held(queries, centres, k):
        distances = np.linalg.norm(queries[:, None] - centres[None], axis=2)
        return distances <= radii(centres, k)

    expected = {
        "precision": held(samples, real, 3).any(1).mean(),
        "recall": held(real, samples, 3).any(1).mean(),
        "density": held(samples, real, 5).sum(1).mean() / 5,
        "coverage": held(samples, real, 5).any(0).mean(),
        "diversity": pdist(samples).mean() / pdist(real).mean(),
    }
    union, labels = np.concatenate([samples, real]), np.repeat([0, 1], N)
    right = [
        KNeighborsClassifier(1).fit(np.delete(union, i, 0), np.delete(labels, i)).predict(union[i : i + 1]) == labels[i]
        for i in range(2 * N)
    ]
    expected["nn_accuracy_samples"], expected["nn_accuracy_real"] = np.mean(right[:N]), np.mean(right[N:])
    expected["nn_accuracy"] = np.mean(right)
    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_other_numbers_of_neighbours_are_in_the_names(k, sides, features):
    samples, real = (rows.flatten(1).numpy() for rows in sides)
    held = [
        np.linalg.norm(queries[:, None] - centres[None], axis=2)
        <= NearestNeighbors(n_neighbors=k + 1).fit(centres).kneighbors(centres)[0][:, k]
        for queries, centres in ((samples, real), (real, samples))
    ]
    suffix = "" if k == 3 else f"_k{k}"
    expected = {f"precision{suffix}": held[0].any(1).mean(), f"recall{suffix}": held[1].any(1).mean()}
    expected |= {f"density_k{k}": held[0].sum(1).mean() / k, f"coverage_k{k}": held[0].any(0).mean()}
    comparison = Comparison(*features, options=ScoreOptions(k=k))
    assert compute_scores(["precision_recall", "density_coverage"], comparison) == pytest.approx(expected, rel=1e-6)


def test_kid_by_subsets_is_torchmetrics_of_the_same_ones(sides, features):
    """Its own estimate of 20 pairs of subsets of 50, without replacement: mean and deviation; the name says both."""
    generator, values = torch.Generator().manual_seed(3), []
    for _ in range(20):
        rows = [side.flatten(1)[torch.randperm(N, generator=generator)[:50]] for side in sides]
        values.append(float(poly_mmd(*rows)))
    comparison = Comparison(*features, seed=3, options=ScoreOptions(subsets=20, subset_size=50))
    expected = {"kid_subsets_20x50": np.mean(values), "kid_subsets_20x50_std": np.std(values)}
    assert compute_scores(["kid_subsets"], comparison) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("options", [{"k": 0}, {"subsets": 0}, {"subset_size": 1}])
def test_options_that_are_none(options):
    with pytest.raises(ValueError, match=r"=\d: at least \d is needed"):
        ScoreOptions(**options)
