import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from lit_gen.metrics import frechet_distance, sinkhorn, sliced_wasserstein, wasserstein


def cloud(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_permutations(x: torch.Tensor, y: torch.Tensor, p: float) -> float:
    costs = torch.cdist(x, y).pow(p)
    plans = itertools.permutations(range(len(x)))
    return min(costs[range(len(x)), plan].mean().item() for plan in plans) ** (1 / p)


def by_linear_programme(x: torch.Tensor, y: torch.Tensor, p: float) -> float:
    (n, m), costs = (len(x), len(y)), torch.cdist(x, y).pow(p).numpy()
    marginals = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return optimize.linprog(costs.ravel(), A_eq=marginals, b_eq=weights).fun ** (1 / p)


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_best_of_all_permutations(p, dim):
    x, y = cloud(6, dim), cloud(6, dim, seed=1) * 2 + 1
    assert wasserstein(x, y, p).item() == pytest.approx(by_permutations(x, y, p), abs=1e-9)


@pytest.mark.parametrize(("n", "m", "dim"), [(4, 6, 2), (9, 3, 3), (7, 5, 1), (1, 8, 2)])
@pytest.mark.parametrize("p", [1, 2])
def test_unequal_sizes_by_linear_programme(n, m, dim, p):
    x, y = cloud(n, dim), cloud(m, dim, seed=1)
    assert wasserstein(x, y, p).item() == pytest.approx(by_linear_programme(x, y, p), abs=1e-7)


def test_on_a_line_scipy_agrees():
    x, y = cloud(300), cloud(211, seed=1).exp()
    assert wasserstein(x, y).item() == pytest.approx(stats.wasserstein_distance(x, y), abs=1e-12)


def test_quantiles_of_two_normal_distributions():
    # W_2 of N(m, s²) and N(n, t²) is √((m − n)² + (s − t)²); their quantiles stand for them.
    quantiles = torch.special.ndtri((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    assert wasserstein(1 + 2 * quantiles, -2 + 0.5 * quantiles, 2).item() == pytest.approx(math.hypot(3, 1.5), abs=1e-3)


def test_a_symmetric_linear_map_moves_at_bures_cost():
    # x → Ax with A positive definite is optimal (Brenier), so that the distance of the points is the Gaussians'.
    x = cloud(60, 3)
    x = x - x.mean(0)
    root = cloud(3, 3, seed=2)
    y = x @ (root @ root.T + 0.1 * torch.eye(3, dtype=torch.float64)) + torch.tensor([1.0, -2.0, 0.5])
    gaussian = frechet_distance(x.mean(0), x.T.cov(correction=0), y.mean(0), y.T.cov(correction=0))
    assert wasserstein(x, y, 2).square().item() == pytest.approx(gaussian.item(), rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_it_is_a_distance(p):
    x, y, z = cloud(40, 2), cloud(40, 2, seed=1) + 1, cloud(40, 2, seed=2) * 3
    assert wasserstein(x, x[torch.randperm(40)], p) == 0
    assert wasserstein(x, y, p) == pytest.approx(wasserstein(y, x, p).item())
    assert wasserstein(x, z, p) <= wasserstein(x, y, p) + wasserstein(y, z, p)
    assert wasserstein(x, x + torch.tensor([3.0, 4.0]), p).item() == pytest.approx(5)


@pytest.mark.parametrize("theta", [0.25, 1.0, -3.0])
def test_parallel_lines_are_as_far_as_they_look(theta):
    # arXiv:1701.07875, example 1: uniform on {0} × [0, 1] and on {θ} × [0, 1].
    at_0 = torch.stack([torch.zeros(128), torch.rand(128)], 1).double()
    at_theta = at_0 + torch.tensor([theta, 0.0])
    assert wasserstein(at_0, at_theta).item() == pytest.approx(abs(theta))
    # In |x − θ − y|² the shift only adds a term that no plan can change, so that it is exact for any ε.
    for epsilon in (0.02, 1.0):
        assert sinkhorn(at_0, at_theta, 2, epsilon).item() == pytest.approx(theta**2, abs=1e-3)


@pytest.mark.parametrize("p", [1, 2])
def test_sinkhorn_lies_above_by_at_most_epsilon_log_n(p):
    x, y = cloud(50, 2), cloud(50, 2, seed=1) + 1
    exact = wasserstein(x, y, p).item() ** p
    for epsilon in (1.0, 0.1, 0.02):
        assert exact <= sinkhorn(x, y, p, epsilon, debiased=False) <= exact + epsilon * math.log(50)
    assert sinkhorn(x, y, p, 0.02).item() == pytest.approx(exact, rel=0.02)


def test_entropic_transport_against_its_primal():
    # E_π c + ε KL(π ‖ a ⊗ b), minimised over the one parameter of a 2 × 2 plan with uniform marginals.
    x, y, epsilon = torch.tensor([0.0, 1.0]), torch.tensor([0.2, 1.7]), 0.3
    costs = (x[:, None] - y).square().double()

    def value(t: float) -> float:
        plan = torch.tensor([[t, 0.5 - t], [0.5 - t, t]], dtype=torch.float64)
        return ((plan * costs).sum() + epsilon * torch.xlogy(plan, 4 * plan).sum()).item()

    best = optimize.minimize_scalar(value, bounds=(1e-9, 0.5 - 1e-9), method="bounded", options={"xatol": 1e-12}).fun
    assert sinkhorn(x, y, 2, epsilon, debiased=False, tolerance=1e-6).item() == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_debiased_is_zero_at_itself_and_half_an_energy_distance_far_off(p):
    x, y = cloud(40, 2), cloud(30, 2, seed=1) + 1
    assert sinkhorn(x, x, p, 0.1).item() == pytest.approx(0, abs=1e-4)
    assert sinkhorn(x, x, p, 0.1, debiased=False) > 0.05
    energy = [torch.cdist(a, b).pow(p).mean().item() for a, b in ((x, y), (x, x), (y, y))]
    assert sinkhorn(x, y, p, 1e5).item() == pytest.approx(energy[0] - energy[1] / 2 - energy[2] / 2, rel=1e-3)
    assert sinkhorn(x, y, p, 0.1) > 0


def test_sinkhorn_says_that_it_did_not_converge():
    with pytest.raises(RuntimeError, match=r"no convergence in max_iterations=3; epsilon=0.001 is small"):
        sinkhorn(cloud(30, 2), cloud(30, 2, seed=1) + 1, epsilon=0.001, max_iterations=3)


def test_sliced_distance_of_a_shift():
    x, shift = cloud(50, 8), torch.arange(8.0)
    found = sliced_wasserstein(x, x + shift, projections=20_000).item()
    assert found == pytest.approx(shift.norm().item() / math.sqrt(8), rel=0.02)
    assert sliced_wasserstein(x, x + shift, projections=20_000, over="max").item() == pytest.approx(
        shift.norm().item(), rel=0.1
    )


def test_sliced_distance_by_a_loop():
    x, y = cloud(21, 3), cloud(14, 3, seed=1) + 1
    directions = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    each = [wasserstein(x @ (d / d.norm()), y @ (d / d.norm()), 2).item() ** 2 for d in directions.T]
    assert sliced_wasserstein(x, y, projections=5, seed=7).item() == pytest.approx(math.sqrt(sum(each) / 5))
    assert sliced_wasserstein(x, y, projections=5, seed=7, over="max").item() == pytest.approx(math.sqrt(max(each)))
    assert sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y, seed=2)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, y, over="max") <= wasserstein(x, y, 2)


def test_sliced_distance_on_a_line_is_the_distance():
    x, y = cloud(30), cloud(20, seed=1) + 2
    assert sliced_wasserstein(x, y, p=1).item() == pytest.approx(wasserstein(x, y).item())


@pytest.mark.parametrize("distance", [wasserstein, sliced_wasserstein, sinkhorn])
def test_bad_points_are_refused(distance):
    good = cloud(4, 2)
    for bad in (cloud(4, 3), cloud(0, 2), cloud(4), cloud(4, 2, 2)):
        with pytest.raises(ValueError, match=r"sets of points \(N, D\) and \(M, D\) are needed"):
            distance(good, bad)
    with pytest.raises(ValueError, match="y holds NaN"):
        distance(good, good * math.nan)
    with pytest.raises(ValueError, match=r"p=0.5: a finite number"):
        distance(good, good, p=0.5)


def test_other_bad_arguments_are_refused():
    x = cloud(4, 2)
    with pytest.raises(ValueError, match=r"1999 and 2000 points: .* at most 2000"):
        wasserstein(cloud(1999, 2), cloud(2000, 2))
    with pytest.raises(ValueError, match="epsilon=0: "):
        sinkhorn(x, x, epsilon=0)
    with pytest.raises(ValueError, match="projections=0: "):
        sliced_wasserstein(x, x, projections=0)
    with pytest.raises(ValueError, match="over='min': "):
        sliced_wasserstein(x, x, over="min")
