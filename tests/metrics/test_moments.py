import numpy as np
import pytest
import torch

from lit_gen.metrics import FeatureMoments


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


@pytest.mark.parametrize("shares", [[60, 41], [1, 99, 1], [101, 0], [0, 0, 101]])
def test_uneven_and_empty_processes_equal_one(shares):
    ranks = [moments_of(share) for share in features().split(shares)]
    for rank in ranks:
        synced = moments_of(features()[:0])
        synced.state = rank.state
        synced.distributed_available_fn = lambda: True
        synced.dist_sync_fn = lambda state, group=None: [other.state for other in ranks]
        mean, covariance = synced.compute()
        np.testing.assert_allclose(mean, features().numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(features().numpy(), rowvar=False), rtol=1e-9)
        assert synced.count == rank.count  # afterwards the process holds its own rows again


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
