import math

import numpy as np
import pytest
import torch

from lit_gen.metrics import Neighbours
from lit_gen.metrics.balls import held
from lit_gen.metrics.manifold import mean_pairwise_distance, nearest


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def distances(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    return np.array([[math.dist(a, b) for b in y.tolist()] for a in x.tolist()])


def brute_force(samples: torch.Tensor, real: torch.Tensor, k_manifold: int = 3, k_density: int = 5) -> dict[str, float]:
    """The papers' definitions, pair by pair."""
    between, among_samples, among_real = distances(samples, real), distances(samples, samples), distances(real, real)

    def radius(among, i, k):
        return sorted(np.delete(among[i], i))[k - 1]

    def held(pairs, centres, k):
        return [[pairs[i, j] <= radius(centres, j, k) for j in range(pairs.shape[1])] for i in range(len(pairs))]

    balls = np.array(held(between, among_real, k_density))
    return {
        "precision": np.mean(np.any(held(between, among_real, k_manifold), axis=1)),
        "recall": np.mean(np.any(held(between.T, among_samples, k_manifold), axis=1)),
        "density": balls.sum() / k_density / len(samples),
        "coverage": np.mean(balls.any(axis=0)),
    }


def scores(samples: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    neighbours = Neighbours(samples, real)
    return neighbours.precision_recall() | neighbours.density_coverage()


@pytest.mark.parametrize("sizes", [(40, 40), (25, 60), (60, 25)])
@pytest.mark.parametrize("dim", [1, 2, 10])
def test_is_the_definition(sizes, dim):
    samples, real = normal(sizes[0], dim) * 0.7 + 0.4, normal(sizes[1], dim, seed=1)
    assert scores(samples, real) == pytest.approx(brute_force(samples, real), abs=1e-12)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_change_nothing(monkeypatch, block):
    samples, real = normal(50, 3) * 0.7 + 0.4, normal(41, 3, seed=1)
    whole = scores(samples, real), Neighbours(samples, real).memorisation(), mean_pairwise_distance(samples)
    monkeypatch.setattr("lit_gen.metrics.manifold.BLOCK", block)
    monkeypatch.setattr("lit_gen.metrics.balls.BLOCK", block)
    again = scores(samples, real), Neighbours(samples, real).memorisation(), mean_pairwise_distance(samples)
    assert again[:2] == whole[:2]
    assert again[2] == pytest.approx(whole[2], rel=1e-12)


def test_agrees_with_prdc():
    """The density authors' own code: equal but for ties, which normal features don't have."""
    prdc = pytest.importorskip("prdc")
    pytest.importorskip("sklearn")
    samples, real = normal(80, 6) * 0.8 + 0.3, normal(100, 6, seed=1)
    for k in (3, 5):
        neighbours = Neighbours(samples, real, k=k)
        ours = neighbours.precision_recall(k) | neighbours.density_coverage(k)
        theirs = prdc.compute_prdc(real.numpy(), samples.numpy(), nearest_k=k)
        assert ours == pytest.approx({name: float(value) for name, value in theirs.items()}, abs=1e-12)


def test_nearest_agrees_with_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    queries, rows = normal(30, 5), normal(70, 5, seed=1)
    expected, positions = neighbors.NearestNeighbors(n_neighbors=4, algorithm="brute").fit(rows).kneighbors(queries)
    ours = nearest(queries, rows, 4)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-9)
    np.testing.assert_array_equal(ours[1], positions)


def test_near_duplicates_far_from_zero_keep_their_digits():
    """Rows at 1e4 with neighbours 1e-6 away; and in float32 near ones that torch.cdist's fast form loses."""
    rows = normal(200, 32) + 1e4
    step = normal(200, 32, seed=1)
    queries = rows + 1e-6 * step
    exact, positions = nearest(queries, rows, 1)
    assert positions[:, 0].tolist() == list(range(200))
    np.testing.assert_allclose(exact[:, 0], (queries - rows).norm(dim=1), rtol=1e-12)
    single = (rows - 1e4 + 100).float()
    near = single + 1e-3 * step.float()
    true = (near.double() - single.double()).norm(dim=1)
    np.testing.assert_allclose(nearest(near, single, 1)[0][:, 0], true, rtol=1e-12)
    fast = torch.cdist(near, single, compute_mode="use_mm_for_euclid_dist").min(1).values
    assert (fast / true - 1).abs().median() > 0.5


def test_copies_are_inside_their_balls_of_no_radius():
    rows = torch.tensor([[1e3, 1.0], [1e3, 1.0], [-7e2, 2.0], [-7e2, 2.0]], dtype=torch.float64)
    for counts in held(rows, rows, torch.zeros(4, 1), torch.zeros(4, 1)):
        assert counts.tolist() == [[2], [2], [2], [2]]


def test_identical_sets():
    rows = normal(60, 4)
    neighbours = Neighbours(rows, rows.flip(0))
    assert neighbours.precision_recall() == {"precision": 1.0, "recall": 1.0}
    assert neighbours.density_coverage() == {"density": pytest.approx(6 / 5), "coverage": 1.0}
    assert neighbours.memorisation() == {"authenticity": 0.0, "memorised": 1.0}
    assert set(neighbours.two_sample_test().values()) == {0.0}
    assert neighbours.diversity() == {"diversity": pytest.approx(1.0)}


def test_constant_features():
    """Data and samples at one point: each is within the other, and nobody can tell who is who."""
    neighbours = Neighbours(torch.full((9, 2), 5.0), torch.full((12, 2), 5.0))
    assert neighbours.precision_recall() == {"precision": 1.0, "recall": 1.0}
    assert neighbours.density_coverage()["coverage"] == 1
    assert neighbours.memorisation()["memorised"] == 1
    assert neighbours.two_sample_test()["nn_accuracy"] == 0


def test_sets_that_lie_apart():
    neighbours = Neighbours(normal(50, 3) + 100, normal(50, 3, seed=1))
    assert set(scores(neighbours.samples, neighbours.real).values()) == {0.0}
    assert set(neighbours.two_sample_test().values()) == {1.0}
    assert neighbours.memorisation() == {"authenticity": 1.0, "memorised": 0.0}


def test_a_collapsed_model():
    """All samples one typical datum: precise, dense, and covering almost nothing."""
    real = normal(200, 3)
    centre = real[real.norm(dim=1).argmin()]
    neighbours = Neighbours(centre.repeat(50, 1), real)
    found = neighbours.precision_recall() | neighbours.density_coverage()
    assert found["precision"] == 1
    assert found["recall"] <= 1 / 200
    assert found["coverage"] < 0.1
    assert neighbours.diversity()["diversity"] == 0
    assert neighbours.memorisation()["memorised"] == 1


def test_new_samples_of_the_same_distribution():
    samples, real = normal(1500, 3), normal(1500, 3, seed=1)
    neighbours = Neighbours(samples, real)
    assert neighbours.density_coverage() == {
        "density": pytest.approx(1, abs=0.05),
        "coverage": pytest.approx(1, abs=0.06),
    }
    assert neighbours.two_sample_test()["nn_accuracy"] == pytest.approx(0.5, abs=0.04)
    assert neighbours.diversity()["diversity"] == pytest.approx(1, abs=0.03)
    assert neighbours.memorisation()["memorised"] < 0.1  # (1/3)³ = 0.037 in three dimensions
    assert neighbours.memorisation()["authenticity"] > 0.4


def test_expected_coverage_of_the_same_distribution():
    """Naeem et al., lemma 2: 1 − (N−1)…(N−k) / ((M+N−1)…(M+N−k)) for N data and M samples of any distribution."""
    found = [
        Neighbours(normal(40, 2, seed=i), normal(60, 2, seed=5000 + i)).density_coverage()["coverage"]
        for i in range(150)
    ]
    expected = 1 - math.prod(60 - i for i in range(1, 6)) / math.prod(100 - i for i in range(1, 6))
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 150**0.5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_copies_are_counted(share):
    training = normal(300, 20)
    samples = normal(100, 20, seed=1)
    copies = int(100 * share)
    samples[:copies] = training[:copies] + 1e-4 * normal(copies, 20, seed=2)
    found = Neighbours(samples, training).memorisation()
    assert found["memorised"] == share
    assert found["authenticity"] <= 1 - share


def test_authenticity_is_the_definition():
    samples, training = normal(30, 2), normal(40, 2, seed=1)
    between, among = distances(samples, training), distances(training, training)
    np.fill_diagonal(among, np.inf)
    expected = np.mean([row.min() > among[row.argmin()].min() for row in between])
    assert 0 < expected < 1
    assert Neighbours(samples, training).memorisation()["authenticity"] == pytest.approx(expected)


def test_two_sample_test_is_leave_one_out():
    samples, real = normal(30, 2) + 0.5, normal(30, 2, seed=1)
    union = torch.cat([samples, real])
    pairs = distances(union, union)
    np.fill_diagonal(pairs, np.inf)
    found = [(i < 30) == (row.argmin() < 30) for i, row in enumerate(pairs)]
    expected = {"nn_accuracy": np.mean(found), "nn_accuracy_samples": np.mean(found[:30])}
    expected["nn_accuracy_real"] = np.mean(found[30:])
    assert Neighbours(samples, real).two_sample_test() == pytest.approx(expected)


def test_pairwise_distance():
    rows = normal(23, 4) + 1e3
    pairs = distances(rows, rows)
    assert mean_pairwise_distance(rows) == pytest.approx(pairs.sum() / (23 * 22), rel=1e-9)
    scaled = Neighbours(3 * rows, rows).diversity()["diversity"]
    assert scaled == pytest.approx(3, rel=1e-9)


def test_refuses():
    with pytest.raises(ValueError, match="5 samples and 60 data: scores by 5 nearest neighbours need 6 of each"):
        Neighbours(normal(5, 2), normal(60, 2))
    with pytest.raises(ValueError, match="all the data's features are the same"):
        Neighbours(normal(9, 2), torch.zeros(9, 2)).diversity()
    with pytest.raises(ValueError, match="4 nearest neighbours among 3 rows"):
        nearest(normal(4, 2), normal(4, 2), 4, themselves=True)
    with pytest.raises(ValueError, match="pairwise distance of 1 rows"):
        mean_pairwise_distance(normal(1, 2))
