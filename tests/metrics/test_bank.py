from pathlib import Path

import numpy as np
import pytest
import torch

from lit_gen.metrics import SCORES, Comparison, FeatureBank, FeatureMoments, compute_scores
from lit_gen.metrics.bank import Reservoir, priority
from lit_gen.metrics.moments import NotFiniteError

CLASSES = 3


def images(n: int = 90, dim: int = 6, seed: int = 0):
    """Features, class scores and labels of n images, the features correlated and away from 0."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, dim, dtype=torch.float64, generator=generator) @ torch.randn(
        dim, dim, dtype=torch.float64, generator=generator
    )
    return rows + 3 + seed / 10, torch.randn(n, CLASSES, generator=generator), torch.arange(n) % CLASSES


def filled(parts, capacity=50, n=90, seed=0, **kwargs) -> FeatureBank:
    """A bank of the images at the positions of each part, one update a part."""
    rows, logits, labels = images(n, seed=seed)
    bank = FeatureBank(rows.shape[1], CLASSES, capacity, **kwargs)
    for part in parts:
        bank.update(rows[part], torch.as_tensor(part), logits[part], labels[part])
    return bank


def everything(bank: FeatureBank, other: FeatureBank) -> dict[str, float]:
    names = [name for name in SCORES if name != "kid_subsets"]  # which needs 1,000
    return compute_scores(names, Comparison(bank.compute(), other.compute()))


def test_any_batching_and_order_gives_the_same_features():
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    whole = filled([torch.arange(90)]).compute()
    for parts in ([order], list(order.split(7)), [order[:0], order[:1], order[1:]]):
        features = filled(parts).compute()
        assert features.index.equal(whole.index)
        assert features.rows.equal(whole.rows)
        assert features.labels.equal(whole.labels)
        np.testing.assert_allclose(features.moments.mean, whole.moments.mean, rtol=1e-13)
        np.testing.assert_allclose(features.moments.covariance, whole.moments.covariance, rtol=1e-9)
        assert features.classes == pytest.approx(whole.classes, rel=1e-12)
        assert features.inception == pytest.approx(whole.inception, rel=1e-12)


def test_rows_kept_are_those_given():
    rows, _, labels = images()
    features = filled([torch.arange(90)], capacity=1000).compute()
    assert features.index.tolist() == list(range(90))
    assert features.rows.equal(rows.float())
    assert features.labels.equal(labels)
    assert features.labelled
    assert len(filled([torch.arange(90)], capacity=50).compute().rows) == 50


def test_every_position_is_kept_as_often():
    """Of 60 positions 20 are kept: over 300 seeds each 100 times, with a standard deviation of 8.2."""
    counts = torch.zeros(60)
    for seed in range(300):
        reservoir = Reservoir(1, capacity=20, seed=seed)
        reservoir.update(torch.zeros(60, 1), torch.arange(60))
        counts[reservoir.compute()[1]] += 1
    assert counts.sum() == 6_000
    assert (counts - 100).abs().max() < 35


def test_memory_is_bounded_by_twice_the_capacity():
    reservoir = Reservoir(3, capacity=10)
    for start in range(0, 5000, 8):
        reservoir.update(torch.zeros(8, 3), torch.arange(start, start + 8))
        assert sum(map(len, reservoir.rows)) <= 20
    first = priority(torch.arange(5000), 0).argsort()[:10].sort().values
    assert reservoir.compute()[1].equal(first)


def test_an_image_given_twice_is_refused():
    bank = filled([torch.arange(10), torch.tensor([9, 10])])
    with pytest.raises(ValueError, match="position 9 was given twice"):
        bank.compute()


def test_reset_forgets_everything():
    bank = filled([torch.arange(90)])
    bank.reset()
    rows, logits, labels = images()
    bank.update(rows[:20], torch.arange(20), logits[:20], labels[:20])
    features = bank.compute()
    assert features.moments.count == len(features.rows) == 20
    np.testing.assert_allclose(features.moments.mean, rows[:20].mean(0))


@pytest.mark.parametrize("where", ["features", "logits"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_numbers_that_are_not_finite(where, bad):
    rows, logits, _ = images(10)
    (rows if where == "features" else logits)[4, 1] = bad
    with pytest.raises(NotFiniteError, match="1 of 10 rows hold NaN or infinite"):
        FeatureBank(6, CLASSES).update(rows, torch.arange(10), logits)


def test_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"shape \(4, 3\): expected \(N, 6\)"):
        FeatureBank(6).update(torch.zeros(4, 3), torch.arange(4))
    with pytest.raises(ValueError, match="index of 3 entries for 4 rows"):
        FeatureBank(6).update(torch.zeros(4, 6), torch.arange(3))
    with pytest.raises(ValueError, match="capacity=0"):
        FeatureBank(6, capacity=0)


def test_too_few_for_the_inception_score_is_said():
    bank = filled([torch.arange(8)], n=8)
    with pytest.raises(ValueError, match="inception_score of 8 samples: at least 10"):
        compute_scores(["inception_score"], Comparison(bank.compute(), bank.compute()))


def scores_of_process(rank: int, shares: list[int], folder: str) -> None:
    """What one process finds that holds its share of the positions; written for the others to compare."""
    torch.set_num_threads(1)
    place = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", place, rank=rank, world_size=len(shares))
    mine = torch.arange(sum(shares)).split(shares)[rank]
    bank, real = (filled(list(mine.split(16)), n=sum(shares), seed=seed) for seed in (0, 1))
    scores = everything(bank, real)
    few, many = FeatureMoments(6), FeatureMoments(6)
    few.few = 10  # so that the sums travel, not the rows
    for moments in (few, many):
        moments.update(images(sum(shares))[0][mine])
        scores |= {f"{moments.few}_{i}": float(x) for i, x in enumerate(moments.compute().covariance.flatten())}
        assert moments.count == len(mine)  # afterwards the process holds its own rows again
    torch.save(scores, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    return run_processes([90], tmp_path_factory.mktemp("one"))[0]


def run_processes(shares: list[int], folder: Path) -> list[dict[str, float]]:
    arguments = (shares, str(folder))
    torch.multiprocessing.start_processes(scores_of_process, arguments, nprocs=len(shares), start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(shares))]


@pytest.mark.parametrize("shares", [[61, 29], [40, 0, 50]])
def test_uneven_processes_give_the_scores_of_one(shares, tmp_path, one_process):
    """To 1e-9, a process without any images included, though 90 is no multiple of the batch."""
    assert len(one_process) > 20
    for scores in run_processes(shares, tmp_path):
        assert scores == pytest.approx(one_process, rel=1e-9, abs=1e-12)


def test_features_move_with_their_moments():
    features = filled([torch.arange(90)]).compute()
    assert features.to("cpu") is features
    moved = features.to("meta")
    assert {moved.rows.device.type, moved.moments.mean.device.type, moved.moments.covariance.device.type} == {"meta"}
    assert moved.labels.equal(features.labels)
    assert (moved.moments.count, moved.classes) == (90, features.classes)
