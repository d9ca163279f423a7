"""Scores of the same features by torchmetrics, scipy and scikit-learn, to 1e-6."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from lit_gen.metrics import Comparison, FeatureBank, compute_scores

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
def ours(sides):
    features = []
    for rows in sides:
        bank = FeatureBank(DIM, CLASSES)
        bank.update(rows.flatten(1), torch.arange(N), rows.flatten(1))
        features.append(bank.compute())
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
