import numpy as np
import pytest
import torch

from lit_gen.metrics import FeatureMoments, Moments, frechet_of_moments
from lit_gen.metrics.moments import check_size


def features(n: int = 101, dim: int = 5) -> torch.Tensor:
    """Correlated rows far from the origin, where sums of raw squares would lose half their digits."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, dim, dtype=torch.float64, generator=generator)
    return rows @ torch.randn(dim, dim, dtype=torch.float64, generator=generator) + 1e5


def moments_of(*chunks: torch.Tensor) -> FeatureMoments:
    moments = FeatureMoments(chunks[0].shape[1])
    for chunk in chunks:
        moments.update(chunk)
    return moments


def assert_numpys(moments: FeatureMoments, rows: torch.Tensor) -> None:
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.numpy(), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("sizes", [[101], [1] * 101, [100, 1], [0, 7, 0, 94], [2, 3, 5, 91]])
def test_any_chunking_gives_numpys_moments(sizes):
    assert_numpys(moments_of(*features().split(sizes)), features())


def test_any_merge_order_gives_numpys_moments():
    parts = [moments_of(chunk) for chunk in features().split([3, 40, 1, 57])]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 0, 1]):
        merged = FeatureMoments(5)
        for i in order:
            merged.merge_state(parts[i])
        assert_numpys(merged, features())


def test_blocks_and_waiting_rows_are_the_same_moments():
    """1,500 rows of 5 features: the first 1,025 or more go into the matrix, the rest waits."""
    rows = features(1500)
    moments = moments_of(*rows.split(100))
    assert moments.state[0, 0] == 1100
    assert_numpys(moments, rows)
    assert_numpys(moments_of(rows), rows)
    assert moments_of(*features(1000).split(100)).state[0, 0] == 0


def test_few_rows_are_the_factor_themselves():
    rows = features(4, dim=7)
    few = moments_of(rows).compute()
    assert few.factor.shape == (7, 4)
    np.testing.assert_allclose(few.factor @ few.factor.T, few.covariance, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(few.variance, np.cov(rows.numpy(), rowvar=False).trace(), rtol=1e-9)


@pytest.mark.parametrize("rank", [3, 5])
def test_factor_of_a_covariance(rank):
    root = features(5 if rank < 5 else 9)[:, :rank] - 1e5
    moments = Moments(torch.zeros(5), root @ root.T if rank < 5 else root.T @ root)
    assert moments.factor.shape == (5, rank)
    np.testing.assert_allclose(moments.factor @ moments.factor.T, moments.covariance, rtol=1e-9, atol=1e-9)
    assert Moments(torch.zeros(5), torch.zeros(5, 5, dtype=torch.float64)).factor.numel() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_coarse_features_are_added_in_float64(dtype):
    rows = features().to(dtype)
    moments = moments_of(*rows.split(10))
    assert moments.covariance.dtype == torch.float64
    assert_numpys(moments, rows.double())


def test_too_few_rows():
    moments = moments_of(features(1))
    assert moments.mean.equal(features(1)[0])
    with pytest.raises(ValueError, match="covariance of 1 feature rows: at least 2"):
        _ = moments.covariance
    with pytest.raises(ValueError, match="mean of 0 feature rows"):
        _ = FeatureMoments(3).mean


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_features_that_are_not_finite_and_keeps_its_state(bad):
    moments, rows = moments_of(features()), features()
    rows[3, 2] = bad
    with pytest.raises(ValueError, match="1 of 101 rows hold NaN or infinite"):
        moments.update(rows)
    assert_numpys(moments, features())


def test_refuses_another_width():
    with pytest.raises(ValueError, match=r"shape \(4, 3\): expected \(N, 5\)"):
        FeatureMoments(5).update(torch.zeros(4, 3))


def test_reset_forgets():
    moments = moments_of(features())
    moments.reset()
    assert moments.count == 0


def test_fewer_rows_than_features_make_no_matrix():
    """10 pictures of 256 px: D x D would be 309 GB. The distance is that of the 10-dimensional space they lie in."""
    rows, others = (torch.zeros(10, 196_608, dtype=torch.float64) for _ in range(2))
    rows[:, 1000:1010], others[:, 1000:1010] = features(10, 10) - 1e5, 2 * (features(10, 10).flip(0) - 1e5) + 1
    rows[:, 1005:1010], others[:, 1003:1010] = 0, 0
    wide = [moments_of(*part.split(3)) for part in (rows, others)]
    merged = FeatureMoments(196_608)
    for part in (wide[0], moments_of(others)):
        merged.merge_state(part)
    assert max(moments.state.numel() for moments in [*wide, merged]) == 1
    expected = frechet_of_moments(*(moments_of(part[:, 1000:1010]).compute() for part in (rows, others)))
    assert frechet_of_moments(*(moments.compute() for moments in wide)).item() == pytest.approx(
        expected.item(), rel=1e-9
    )
    with pytest.raises(ValueError, match=r"a covariance of 196,608 features takes 288\.0 GiB"):
        _ = wide[0].covariance


def test_more_rows_than_memory_are_refused_with_the_bytes(monkeypatch):
    with pytest.raises(ValueError, match=r"200,000 images in 196,608 features takes 309,237,645,312 bytes.*take 1,365"):
        check_size(200_000, 196_608)
    check_size(1_365, 196_608)
    check_size(10**9, 2048)
    monkeypatch.setattr("lit_gen.metrics.moments.LARGEST", 1000)
    moments = moments_of(features(20, 6))
    with pytest.raises(ValueError, match="21 images in 6 features takes 1,008 bytes, of at most 1,000: take 20"):
        moments.update(features(1, 6))
