import numpy as np
import pytest
import scipy.linalg
import torch

from lit_gen.metrics import (
    FeatureMoments,
    Moments,
    class_frechet,
    frechet_distance,
    frechet_infinity,
    frechet_of_moments,
)
from lit_gen.metrics.frechet import _sandwich

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


def wide(n: int, dim: int = 24, seed: int = 0, decay: float = 4.0) -> Moments:
    """Moments of correlated rows whose variances fall by `decay` decades."""
    spectrum = torch.logspace(0, -decay / 2, dim, dtype=torch.float64)
    return Moments.of_rows(normal(n, dim, seed=seed) * spectrum @ torch.linalg.qr(normal(dim, dim, seed=9))[0])


def given(moments: Moments) -> Moments:
    """The same without the rows."""
    return Moments(moments.mean, moments.covariance, moments.count)


@pytest.mark.parametrize("decay", [0.0, 4.0, 12.0])
def test_eigenvalues_of_wide_covariances_are_the_singular_values(monkeypatch, decay):
    """The two ways agree to 1e-9 of the variance, for spectra over twelve decades too."""
    samples, real = given(wide(100, decay=decay)), given(wide(200, seed=1, decay=decay))
    exact = frechet_of_moments(samples, real)
    monkeypatch.setattr("lit_gen.metrics.frechet.WIDE", 1)
    monkeypatch.setattr(torch.linalg, "svdvals", lambda matrix: pytest.fail("not the way of wide covariances"))
    assert frechet_of_moments(samples, given(real)).item() == pytest.approx(
        exact.item(), abs=1e-9 * float(real.variance)
    )
    assert 0 <= frechet_of_moments(samples, given(samples)).item() < 1e-7 * float(samples.variance)


@pytest.mark.parametrize("dim", [1, 3, 4, 7, 24])
def test_sandwich_by_stripes_is_the_product(dim):
    factor, covariance = normal(dim, dim).tril(), normal(dim, dim, seed=1)
    covariance = covariance + covariance.T
    expected = factor.T @ covariance @ factor
    torch.testing.assert_close(_sandwich(factor, covariance).tril(), expected.tril())
    full = normal(dim, dim, seed=2)
    torch.testing.assert_close(_sandwich(full, covariance), full.T @ covariance @ full)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (10, 200), (200, 12), (200, 300)])
def test_rows_and_covariances_give_the_same(n, m):
    """Fewer rows than features or more: with the rows at hand or only what follows from them."""
    samples, real = wide(n, decay=0), wide(m, seed=1, decay=0)
    assert frechet_of_moments(samples, real).item() == pytest.approx(
        frechet_of_moments(given(samples), given(real)).item(), rel=1e-9
    )


def test_factors_are_made_once():
    samples, real = given(wide(100)), given(wide(200, seed=1))
    frechet_of_moments(samples, real)
    assert samples.factor is samples.factor
    assert "factor" in vars(real)


def test_agrees_with_torchmetrics():
    """Its `_compute_fid`, which takes eigenvalues of the product, to 1e-6 on well-conditioned covariances."""
    image = pytest.importorskip("torchmetrics.image.fid")
    samples, real = wide(300, decay=1), wide(300, seed=1, decay=1)
    theirs = image._compute_fid(samples.mean, samples.covariance, real.mean, real.covariance)
    assert frechet_of_moments(samples, real).item() == pytest.approx(float(theirs), rel=1e-6)


def test_agrees_with_torch_fidelity_and_pytorch_fid():
    """Both by scipy's square root; to 1e-6 on well-conditioned covariances."""
    samples, real = wide(300, decay=1), wide(300, seed=1, decay=1)
    statistics = [(x.mean.numpy(), x.covariance.numpy()) for x in (samples, real)]
    pytorch_fid = pytest.importorskip("pytorch_fid.fid_score")
    theirs = pytorch_fid.calculate_frechet_distance(*statistics[0], *statistics[1])
    assert frechet_of_moments(samples, real).item() == pytest.approx(float(theirs), rel=1e-6)
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    sides = [{"mu": mean, "sigma": covariance} for mean, covariance in statistics]
    theirs = fidelity.fid_statistics_to_metric(*sides, False)["frechet_inception_distance"]
    assert frechet_of_moments(samples, real).item() == pytest.approx(float(theirs), rel=1e-6)


def test_infinitely_many_samples():
    """Samples of the data's own distribution: their distance is above 0 by a bias ∝ 1/n, which is taken away."""
    real = Moments(torch.zeros(8, dtype=torch.float64), torch.eye(8, dtype=torch.float64))
    found = [frechet_infinity(normal(400, 8, seed=i), real, seed=i) for i in range(20)]
    biased = np.mean([frechet_of_moments(Moments.of_rows(normal(400, 8, seed=i)), real) for i in range(20)])
    assert abs(np.mean(found)) < biased / 4
    moved = frechet_infinity(normal(4000, 8) + 1, real)
    assert moved == pytest.approx(8, rel=0.05)
    assert frechet_infinity(normal(100, 8), real) == frechet_infinity(normal(100, 8), real)


def test_class_by_class():
    """Right over all, wrong within the classes: labels exchanged. And each class alone is the distance of its rows."""
    rows, real = normal(90, 3), normal(60, 3, seed=1)
    labels, real_labels = torch.arange(90) % 3, torch.arange(60) % 3
    found = class_frechet(rows, labels, real, real_labels)
    assert found.keys() == {0, 1, 2}
    for k in range(3):
        assert found[k] == pytest.approx(of_rows(rows[labels == k], real[real_labels == k]).item(), rel=1e-9)
    shift = 10.0 * real_labels[:, None]
    exchanged = class_frechet(real + shift, (real_labels + 1) % 3, real + shift, real_labels)
    assert of_rows(real + shift, real + shift) < 1e-9
    assert min(exchanged.values()) > 100


def test_too_few():
    real = wide(50)
    with pytest.raises(ValueError, match="covariance of 1 feature rows: at least 2"):
        frechet_of_moments(wide(1), real)
    with pytest.raises(ValueError, match="mean of 0 feature rows"):
        Moments.of_rows(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="fd_infinity of 19 samples at 15 points: at least 20"):
        frechet_infinity(normal(19, 24), real)
    with pytest.raises(ValueError, match="class 1 has 1 samples and 2 data"):
        class_frechet(normal(4, 3), torch.tensor([0, 0, 0, 1]), normal(4, 3), torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize("n", [2, 3, 50])
def test_one_dimension_and_constant_features(n):
    """(μ₁ − μ₂)² + (σ₁ − σ₂)² in 1-D; constant features beside them add nothing."""
    a, b = 2 * normal(n, 1) + 1, normal(n + 1, 1, seed=1)
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_of_moments(Moments.of_rows(a), Moments.of_rows(b)).item() == pytest.approx(
        expected.item(), abs=1e-12
    )
    a, b = (torch.cat([rows, torch.full((len(rows), 3), 7.0)], 1) for rows in (a, b))
    for moments in ((Moments.of_rows(a), Moments.of_rows(b)), (given(Moments.of_rows(a)), given(Moments.of_rows(b)))):
        assert frechet_of_moments(*moments).item() == pytest.approx(expected.item(), abs=1e-12)
