import math

import pytest
import torch

from lit_gen.metrics import js_divergence, kl_divergence

GRID = torch.linspace(-12, 12, 4801, dtype=torch.float64)
CELL = 24 / 4800


def normal(mean: float, std: float) -> torch.Tensor:
    return torch.distributions.Normal(mean, std).log_prob(GRID).exp()


def test_kl_of_two_normal_distributions():
    expected = math.log(1.5 / 0.8) + (0.8**2 + 1) / (2 * 1.5**2) - 0.5
    assert kl_divergence(normal(0, 0.8), normal(1, 1.5), CELL).item() == pytest.approx(expected, rel=1e-6)
    assert kl_divergence(normal(1, 1.5), normal(0, 0.8), CELL).item() > expected


def test_a_density_in_the_plane():
    p, q = (density[::40, None] * density[None, ::40] for density in (normal(0, 1), normal(1, 1)))
    assert kl_divergence(p, q, (40 * CELL) ** 2).item() == pytest.approx(1, rel=1e-5)


def test_disjoint_supports():
    # arXiv:1701.07875, example 1: lines at 0 and θ; the divergences don't know how far they are apart.
    for theta in (1, 5, 9):
        p, q = torch.zeros(10, 4), torch.zeros(10, 4)
        p[0], q[theta] = 0.25, 0.25
        assert js_divergence(p, q).item() == pytest.approx(math.log(2), abs=1e-12)
        assert kl_divergence(p, q) == math.inf
        assert js_divergence(p, p).item() == pytest.approx(0, abs=1e-12)


def test_the_smallest_densities_do_no_harm():
    p, q = normal(-9, 0.11), normal(9, 0.11)
    assert p.eq(5e-324).any()  # half of it is 0
    assert js_divergence(p, q, CELL).item() == pytest.approx(math.log(2), rel=1e-6)


def test_js_between_its_bounds_and_by_hand():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    # m = (1/4, 1/2, 1/4): KL(p ‖ m) = ½ log 2 + ½ log 1, and so is KL(q ‖ m).
    assert js_divergence(p, q).item() == pytest.approx(0.5 * math.log(2))
    values = [js_divergence(normal(0, 1), normal(shift, 1), CELL).item() for shift in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert values[-1] < math.log(2)


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.5], [1.0], "densities on the same grid"),
        ([0.5, 0.5], [1.5, -0.5], "q holds values that are negative"),
        ([math.nan, 0.5], [0.5, 0.5], "p holds values that are negative or not finite"),
        ([0.5, 0.3], [0.5, 0.5], r"p has a mass of 0.8 on this grid"),
    ],
)
def test_bad_densities_are_refused(p, q, message):
    for divergence in (kl_divergence, js_divergence):
        with pytest.raises(ValueError, match=message):
            divergence(torch.tensor(p), torch.tensor(q))
