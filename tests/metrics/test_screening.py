"""Screening in low precision gives float64's neighbours and balls, whatever the rows are."""

import pytest
import torch

from lit_gen.metrics import Neighbours, balls, manifold, nearest, screening
from lit_gen.metrics.screening import Screening


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def lattice(n: int, seed: int) -> torch.Tensor:
    """Small whole numbers: many equal distances, and some equal rows."""
    return (normal(n, 3, seed=seed) * 1.5).round().repeat(1, 22)


def clusters(n: int, seed: int) -> torch.Tensor:
    """Far apart and narrow, so that distances within one are below what low precision tells apart."""
    return 100 * normal(7, 66, seed=9)[torch.arange(n) % 7] + 0.1 * normal(n, 66, seed=seed)


def outliers(n: int, seed: int) -> torch.Tensor:
    return normal(n, 66, seed=seed) * torch.logspace(-1, 1, n, dtype=torch.float64)[:, None]


SETS = {
    "normal": lambda n, seed: normal(n, 66, seed=seed),
    "inception": lambda n, seed: (0.4 + 0.3 * normal(n, 66, seed=seed)).relu(),
    "far from zero": lambda n, seed: normal(n, 66, seed=seed) + 1e3,
    "tiny": lambda n, seed: 1e-17 * normal(n, 66, seed=seed),
    "large": lambda n, seed: 1e17 * normal(n, 66, seed=seed),
    "copies": lambda n, seed: normal(n // 3 + 1, 66).repeat(3, 1)[:n],
    "lattice": lattice,
    "clusters": clusters,
    "outliers": outliers,
    "few dimensions": lambda n, seed: normal(n, 3, seed=seed),
}


@pytest.fixture(params=[True, False], ids=["bfloat16", "float32"])
def small_blocks(request, monkeypatch):
    """Several uneven blocks of few rows, in either precision."""
    monkeypatch.setattr(screening, "fast_bfloat16", lambda accelerated: request.param)
    for module in (screening, nearest):
        monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(screening, "FROM_PAIRS", 1)
    monkeypatch.setattr(screening, "CHUNK", 1000)


def sides(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return SETS[name](90, 0).float(), SETS[name](123, 1).float()


def distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x.double()[:, None] - y.double()).norm(dim=2)


@pytest.mark.parametrize("name", SETS)
def test_bounds_hold_and_nothing_near_is_missed(name, small_blocks):
    x, y = sides(name)
    for other in (y, x):
        pairs = Screening(x, other)
        assert pairs.trusted
        true = distances(x, other).square()
        reach_x, reach_y = true.kthvalue(4, 1).values, true.kthvalue(3, 0).values
        missed = (true <= reach_x[:, None]) | (true <= reach_y)
        if pairs.within:
            missed.triu_(1)
        for found in pairs.near(reach_x, reach_y, {}):
            assert (found.lower <= true[found.x, found.y]).all()
            assert (found.upper >= true[found.x, found.y]).all()
            missed[found.x, found.y] = False
        assert not missed.any()


@pytest.mark.parametrize("name", SETS)
def test_nearest_are_those_of_all_differences(name, small_blocks, monkeypatch):
    monkeypatch.setattr(nearest, "HELD", 1000)  # so that the sets with many equal distances are screened too
    x, y = sides(name)
    found = [(*nearest.screened_nearest(x, y, 2, 4), distances(x, y)), (*nearest.screened_nearest(x, x, 5), None)]
    for of_x, of_y, pairs in found:
        true = distances(x, x).fill_diagonal_(torch.inf) if pairs is None else pairs
        for (values, positions), expected in ((of_x, true), (of_y, true.T)):
            k = values.shape[1]
            torch.testing.assert_close(values, expected.sort(1).values[:, :k], rtol=1e-13, atol=0)
            torch.testing.assert_close(values, expected.gather(1, positions), rtol=1e-13, atol=0)
            assert all(len(set(row)) == k for row in positions.tolist())


def test_what_is_held_is_sorted_out_on_the_way(small_blocks, monkeypatch):
    x, y = sides("normal")
    whole = nearest.screened_nearest(x, y, 2, 4)
    calls = []
    tightened = nearest.Search.tightened
    monkeypatch.setattr(nearest.Search, "tightened", lambda self, found: calls.append(1) or tightened(self, found))
    monkeypatch.setattr(nearest, "FIRST", 1)
    monkeypatch.setattr(nearest, "HELD", 11)
    again = nearest.screened_nearest(x, y, 2, 4)
    assert len(calls) > 1
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


@pytest.mark.parametrize("name", SETS)
def test_balls_hold_what_they_hold_in_float64(name, small_blocks, monkeypatch):
    x, y = sides(name)
    radii = [distances(rows, rows).sort(1).values[:, 1:6] for rows in (x, y)]
    screened = balls.held(x, y, *radii)
    monkeypatch.setattr(balls, "worth_it", lambda x, y: False)
    torch.testing.assert_close(screened, balls.held(x, y, *radii), rtol=0, atol=0)
    true, radii = distances(x, y)[..., None].square(), [each.square() for each in radii]
    slack = 1e-13 * max(float((rows.double() - y.double().mean(0)).square().sum(1).max()) for rows in (x, y))
    of_y, of_x = true <= radii[1] + slack, true <= radii[0][:, None] + slack
    torch.testing.assert_close(tuple(screened), (of_y.sum(1), of_x.sum(0), of_y.sum(0)))


def test_a_copy_is_in_the_ball_that_ends_there(small_blocks):
    """Sample 0 is a datum: at the very radius of all balls that reach to that datum."""
    x, y = sides("normal")
    x[0] = y[7]
    radii = [distances(rows, rows).sort(1).values[:, 1:6] for rows in (x, y)]
    reach_to_it = (distances(y, y)[:, 7, None] <= radii[1]).sum(0)
    assert balls.held(x, y, *radii).x[0].tolist() == reach_to_it.tolist()


@pytest.mark.parametrize("name", SETS)
def test_all_scores_are_those_of_float64(name, small_blocks, monkeypatch):
    def scores():
        n = Neighbours(*sides(name))
        found = n.precision_recall() | n.density_coverage() | n.memorisation() | n.two_sample_test()
        if name == "lattice":
            del found["authenticity"]  # several data are the nearest one, each with a distance of its own
        return found

    screened = scores()
    for module in (balls, nearest):
        monkeypatch.setattr(module, "worth_it", lambda x, y: False)
    assert screened == scores()


def test_rows_that_are_all_alike_are_left_to_float64(small_blocks, monkeypatch):
    monkeypatch.setattr(nearest, "HELD", 20)
    rows = torch.full((300, 66), 0.3)
    assert nearest.screened_nearest(rows, rows, 5) is None
    assert manifold.Neighbours(rows, rows[:200]).precision_recall() == {"precision": 1.0, "recall": 1.0}


@pytest.mark.parametrize("wrong", [lambda p: p * 1.02, lambda p: p.flip(1), lambda p: torch.full_like(p, torch.nan)])
def test_products_that_are_wrong_are_not_trusted(wrong, small_blocks, monkeypatch):
    x, y = sides("inception")
    products = Screening.products
    assert Screening(x, y).trusted
    monkeypatch.setattr(Screening, "products", lambda self, a, b: wrong(products(self, a, b)))
    assert not Screening(x, y).trusted
    assert nearest.screened_nearest(x, y, 2) is None


def test_few_rows_and_many_neighbours_are_left_to_float64():
    x, y = sides("normal")
    assert nearest.screened_nearest(x, y, 2) is None
    many = normal(1100, 4).float()
    assert nearest.screened_nearest(many, many, 5) is not None
    assert nearest.screened_nearest(many, many, 512) is None
