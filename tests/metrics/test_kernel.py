from fractions import Fraction

import numpy as np
import pytest
import torch

from lit_gen.metrics import kernel, kernel_distance, kernel_distance_of_subsets, kernel_within


def normal(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def brute_force(x: torch.Tensor, y: torch.Tensor) -> float:
    """The definition, pair by pair."""

    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    within = [
        np.mean([kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])
        for rows in (x.numpy(), y.numpy())
    ]
    return sum(within) - 2 * np.mean([kernel(a, b) for a in x.numpy() for b in y.numpy()])


@pytest.mark.parametrize("shape", [(2, 3, 1), (7, 5, 4), (30, 41, 16)])
def test_is_the_definition(shape):
    m, n, dim = shape
    x, y = normal(m, dim) + 0.5, 2 * normal(n, dim, seed=1)
    assert kernel_distance(x, y) == pytest.approx(brute_force(x, y), rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(50, 6), normal(41, 6, seed=1) + 1
    whole = kernel_distance(x, y)
    for block in (1, 7, 49, 50):
        monkeypatch.setattr("lit_gen.metrics.kernel.BLOCK", block)
        assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-11)


def test_the_real_pairs_may_be_known():
    x, y = normal(30, 6), normal(41, 6, seed=1) + 1
    assert kernel_distance(x, y, kernel_within(y)) == kernel_distance(x, y)
    assert kernel_within(y[:2]) == pytest.approx((float(y[0] @ y[1]) / 6 + 1) ** 3, rel=1e-12)


def test_unbiased():
    """Two sets of one distribution: 0 on average over many small sets, where the biased form is far above 0."""
    values = [kernel_distance(normal(10, 4, seed=i), normal(12, 4, seed=1000 + i)) for i in range(400)]
    error = np.std(values) / 20
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0
    diagonal = np.mean([(normal(10, 4, seed=i).square().sum(1) / 4 + 1).pow(3).mean() for i in range(400)])
    assert diagonal / 10 > 20 * error  # what the diagonal alone would add


def test_float32_features_lose_little():
    x, y = normal(300, 512).abs() * 0.4, normal(200, 512, seed=1).abs() * 0.41  # as Inception's: not negative
    assert kernel_distance(x.float(), y.float()) == pytest.approx(kernel_distance(x, y), abs=2e-6)


def test_one_and_many_dimensions_of_a_known_distance():
    """Points at 0 against points at c in 1-D: 1 + (c² + 1)³ − 2."""
    assert kernel_distance(torch.zeros(5, 1), torch.full((4, 1), 2.0)) == pytest.approx(1 + 125 - 2)


def test_subsets_of_all_rows_are_the_exact_estimate():
    x, y = normal(40, 5), normal(40, 5, seed=1) + 0.3
    mean, deviation = kernel_distance_of_subsets(x, y, subsets=3, size=40)
    assert mean == pytest.approx(kernel_distance(x, y), rel=1e-12)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_subsets_are_seeded_and_near_the_exact_estimate():
    x, y = normal(400, 5), normal(300, 5, seed=1) + 0.3
    first = kernel_distance_of_subsets(x, y, subsets=50, size=100)
    assert first == kernel_distance_of_subsets(x, y, subsets=50, size=100)
    assert first != kernel_distance_of_subsets(x, y, subsets=50, size=100, seed=1)
    assert first[0] == pytest.approx(kernel_distance(x, y), abs=4 * first[1] / 50**0.5)


def test_agrees_with_torchmetrics():
    """Its float32 estimate of the same subset, to 1e-5."""
    image = pytest.importorskip("torchmetrics.image.kid")
    x, y = normal(60, 32, dtype=torch.float32), normal(60, 32, seed=1, dtype=torch.float32) + 0.5
    assert kernel_distance(x, y) == pytest.approx(float(image.poly_mmd(x, y)), abs=1e-5)


def test_agrees_with_torch_fidelity():
    """Its float64 estimate of the same subset, to 1e-9."""
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = normal(60, 32), normal(60, 32, seed=1) + 0.5
    options = {"kid_subsets": 1, "kid_subset_size": 60, "verbose": False}
    theirs = fidelity.kid_features_to_metric(x, y, **options)["kernel_inception_distance_mean"]
    assert kernel_distance(x, y) == pytest.approx(float(theirs), rel=1e-9)


def test_refuses_too_few():
    with pytest.raises(ValueError, match="of 1 samples and 5 data: at least 2"):
        kernel_distance(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="100 subsets of 1000 needs 1000 of 20 samples and 1200 data"):
        kernel_distance_of_subsets(torch.zeros(20, 3), torch.zeros(1200, 3))


def test_the_precision_of_training_is_not_that_of_scores(monkeypatch):
    """`torch.set_float32_matmul_precision` is for steps: within scores it is as if it had not been called."""
    seen, backends = [], (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    mean = kernel._mean_between
    monkeypatch.setattr(
        kernel, "_mean_between", lambda *rows: seen.extend(b.fp32_precision for b in backends) or mean(*rows)
    )
    x, y = normal(300, 512).float(), normal(200, 512, seed=1).float()
    expected = kernel_distance(x, y)
    try:
        torch.set_float32_matmul_precision("medium")
        assert kernel_distance(x, y) == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["ieee"] * 4


@pytest.mark.parametrize("offset", [0, 30, 1000])
def test_an_offset_of_float32_features_costs_no_digits(offset):
    """Against the definition in integers' own precision: features of two binary digits are exact in float32."""
    x, y = ((normal(n, 8, seed=n) * scale * 4).round() / 4 + offset for n, scale in ((20, 1), (30, 2)))
    assert kernel_distance(x.float(), y.float()) == pytest.approx(exact(x, y), rel=1e-6)


def exact(x: torch.Tensor, y: torch.Tensor) -> float:
    """The definition in exact fractions."""
    x_rows, y_rows = ([[Fraction(value) for value in row] for row in rows.tolist()] for rows in (x, y))

    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(rows):
        pairs = [kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    between = sum(kernel(a, b) for a in x_rows for b in y_rows) / (len(x_rows) * len(y_rows))
    return float(within(x_rows) + within(y_rows) - 2 * between)
