"""The kernel's mean by powers of products is that of float64, and is left where bfloat16 could be too coarse."""

import pytest
import torch

from lit_gen.metrics import FeatureBank, kernel, kernel_distance, kernel_terms, kernel_within, screening
from lit_gen.metrics.kernel_terms import CUBES, mean_kernel, scatter
from lit_gen.metrics.screening import Screening


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def bfloat16_and_small_blocks(monkeypatch):
    """As with many rows on a processor with bfloat16; several uneven blocks."""
    monkeypatch.setattr(screening, "fast_bfloat16", lambda accelerated: True)
    monkeypatch.setattr(screening, "FROM_PAIRS", 1)
    monkeypatch.setattr(screening, "BLOCK", 32)
    monkeypatch.setattr(kernel_terms, "COLUMNS", 24)
    monkeypatch.setattr(kernel_terms, "ROWS", 0)


def two_values(n: int, seed: int) -> torch.Tensor:
    """About their mean they are two numbers, which bfloat16 rounds alike in all rows."""
    return 0.3 + 0.0512 * (normal(n, 128, seed=seed) > 0.5).double()


SETS = {
    "inception": lambda n, seed: (0.4 + 0.2 * normal(n, 128, seed=seed)).relu(),
    "other means": lambda n, seed: 0.5 + 0.1 * seed + 0.1 * normal(n, 128, seed=seed),
    "two values": two_values,
    "narrow": lambda n, seed: 3 + 1e-3 * normal(n, 128, seed=seed),
    "constant": lambda n, seed: torch.full((n, 128), 0.7 + 0.2 * seed, dtype=torch.float64),
}


def sides(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return SETS[name](150, 0).float(), SETS[name](203, 1).float()


def by_definition(x: torch.Tensor, y: torch.Tensor) -> float:
    values = (x.double() @ y.double().T / x.shape[1] + 1) ** 3
    return float((values.sum() - values.trace()) / (len(x) * (len(x) - 1)) if x is y else values.mean())


@pytest.mark.parametrize("name", SETS)
def test_is_the_definition(name):
    x, y = sides(name)
    for other in (y, x):
        found, expected = mean_kernel(x, other, scatter(x), scatter(other)), by_definition(x, other)
        assert found == pytest.approx(expected, rel=3e-9)


def test_the_bound_holds_where_rounding_is_the_same_in_all_rows(monkeypatch):
    """Rows of one number: its rounding is the same everywhere, and nothing cancels."""
    monkeypatch.setattr(kernel_terms, "CUBES", torch.inf)
    x = torch.full((40, 128), 1.0) * torch.tensor([1.0, -1.0]).repeat(20)[:, None]  # of mean 0: ±1 ± a shift
    x, y = 1.0039 * x, 0.8 * x[:33]
    expected, moments = by_definition(x, y), (scatter(x), scatter(y))
    pairs = Screening(x, y)
    delta = (pairs.eta + pairs.rho) * 1.0039 * 0.9
    assert abs(mean_kernel(x, y, *moments) - expected) < 3 * delta + 3 * delta**2 + delta**3
    monkeypatch.setattr(kernel_terms, "CUBES", CUBES)
    assert mean_kernel(x, y, *moments) is None


def test_wide_features_are_left_to_all_their_digits(monkeypatch):
    x, y = normal(150, 128).float() * 2, normal(203, 128, seed=1).float()
    assert mean_kernel(x, y, scatter(x), scatter(y)) is None
    found = kernel_distance(x, y)
    monkeypatch.setattr(kernel, "usual_scatters", lambda *_: None)
    assert found == kernel_distance(x, y)


@pytest.mark.parametrize("name", SETS)
def test_the_distance_is_the_definition(name):
    x, y = sides(name)
    expected = by_definition(x, x) + by_definition(y, y) - 2 * by_definition(x, y)
    size = by_definition(x, y)
    assert kernel_distance(x, y) == pytest.approx(expected, abs=1e-8 * size)
    known = kernel_distance(x, y, kernel_within(y), (scatter(x), scatter(y)))
    assert known == pytest.approx(kernel_distance(x, y), abs=1e-12 * size)


def test_products_that_are_wrong_are_not_used(monkeypatch):
    x, y = sides("inception")
    products = Screening.products
    monkeypatch.setattr(Screening, "products", lambda self, a, b: products(self, a, b).flip(1))
    assert mean_kernel(x, y, scatter(x), scatter(y)) is None
    assert kernel_distance(x, y) == pytest.approx(
        by_definition(x, x) + by_definition(y, y) - 2 * by_definition(x, y), abs=1e-6
    )


def test_a_scatter_is_a_covariance_but_for_the_count():
    rows = SETS["inception"](203, 0).float()
    torch.testing.assert_close(scatter(rows) / 202, rows.double().T.cov(), rtol=1e-6, atol=1e-7)


def test_a_bank_knows_the_scatter_of_rows_that_are_all():
    rows = SETS["inception"](203, 0).float()
    for capacity, there in ((300, True), (200, False)):
        bank = FeatureBank(128, capacity=capacity)
        bank.update(rows, torch.arange(203))
        features = bank.compute()
        assert (features.scatter is not None) == there
        if there:
            torch.testing.assert_close(features.scatter, scatter(rows), rtol=1e-6, atol=1e-5)
        assert features.kernel_within == pytest.approx(by_definition(features.rows, features.rows), rel=3e-9)
