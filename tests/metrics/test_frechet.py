import numpy as np
import pytest
import scipy.linalg
import torch

from lit_gen.metrics import FeatureMoments, frechet_distance

GENERATOR = torch.Generator()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR.manual_seed(seed))


def covariance(dim: int, seed: int) -> torch.Tensor:
    factor = normal(dim, dim, seed=seed)
    return factor @ factor.T + 0.1 * torch.eye(dim, dtype=torch.float64)


def of_rows(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    moments = []
    for rows in (a, b):
        moment = FeatureMoments(rows.shape[1])
        moment.update(rows)
        moments += [moment.mean, moment.covariance]
    return frechet_distance(*moments)


def test_one_dimension():
    a, b = torch.tensor([1.0]), torch.tensor([-2.0])
    distance = frechet_distance(a, torch.tensor([[9.0]]), b, torch.tensor([[0.25]]))
    assert distance.dtype == torch.float64
    assert distance.item() == pytest.approx(3**2 + (3 - 0.5) ** 2, abs=1e-12)


def test_commuting_covariances():
    """With common eigenvectors: |μ₁ − μ₂|² + Σ (√a − √b)²."""
    basis = torch.linalg.qr(normal(6, 6))[0]
    a, b = normal(6, seed=1).square(), normal(6, seed=2).square()
    mean1, mean2 = normal(6, seed=3), normal(6, seed=4)
    expected = (mean1 - mean2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    for vectors in (torch.eye(6, dtype=torch.float64), basis):
        distance = frechet_distance(mean1, vectors * a @ vectors.T, mean2, vectors * b @ vectors.T)
        assert distance.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("dim", [2, 16, 64])
def test_agrees_with_scipys_root_on_well_conditioned_covariances(dim):
    mean1, mean2, cov1, cov2 = normal(dim), normal(dim, seed=1), covariance(dim, 2), covariance(dim, 3)
    root = scipy.linalg.sqrtm((cov1 @ cov2).numpy())
    expected = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * np.trace(root).real
    assert frechet_distance(mean1, cov1, mean2, cov2).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize(("n1", "n2"), [(20, 30), (20, 500), (500, 20)])
def test_rank_deficient_covariances_keep_nine_digits(n1, n2):
    """From the rows themselves tr (Σ₁Σ₂)^½ is the sum of the singular values of X₁ X₂ᵀ / √((n₁−1)(n₂−1))."""
    a, b = normal(n1, 64), 1.5 * normal(n2, 64, seed=1) + 0.3
    rows1, rows2 = (a - a.mean(0)) / (n1 - 1) ** 0.5, (b - b.mean(0)) / (n2 - 1) ** 0.5
    expected = (a.mean(0) - b.mean(0)).square().sum() + rows1.square().sum() + rows2.square().sum()
    expected -= 2 * torch.linalg.svdvals(rows1 @ rows2.T).sum()
    assert of_rows(a, b).item() == pytest.approx(expected.item(), rel=1e-9)


def test_constant_samples():
    """All mass in one point: |μ − c|² + tr Σ."""
    zero, cov = torch.zeros(4, 4), covariance(4, 0)
    assert frechet_distance(torch.ones(4), zero, torch.zeros(4), cov).item() == pytest.approx(4 + cov.trace().item())
    assert frechet_distance(torch.ones(4), zero, torch.zeros(4), zero).item() == 4.0


@pytest.mark.parametrize("n", [10, 1000])
def test_zero_to_itself(n):
    rows = normal(n, 64)
    assert 0 <= of_rows(rows, rows.flip(0)).item() < 1e-9


def test_never_negative_between_neighbours():
    for seed in range(50):
        rows = normal(8, 12, seed=seed)
        distance = of_rows(rows, rows * (1 + 1e-9))
        assert 0 <= distance.item() < 1e-9


def test_symmetric_and_unmoved_by_rotations_and_shifts():
    a, b, turn = normal(80, 6), normal(70, 6, seed=1) ** 2, torch.linalg.qr(normal(6, 6, seed=2))[0]
    distance = of_rows(a, b).item()
    assert of_rows(b, a).item() == pytest.approx(distance, rel=1e-12)
    assert of_rows(a @ turn + 7, b @ turn + 7).item() == pytest.approx(distance, rel=1e-9)
    assert of_rows(3 * a, 3 * b).item() == pytest.approx(9 * distance, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2), torch.eye(3), torch.zeros(2), torch.eye(2)), r"cov1 of shape \(3, 3\): expected \(2, 2\)"),
        ((torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3)), r"mean2 of shape \(3,\): expected \(2,\)"),
        ((torch.zeros(2), torch.eye(2), torch.zeros(2), torch.full((2, 2), torch.nan)), "cov2 holds NaN"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(*arguments)
