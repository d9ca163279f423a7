import math

import pytest
import torch
from torch import Tensor

from datamodules import MixtureDataModule
from lit_gen.metrics import Extractor, MixtureCoverage, StackedCoverage, load_extractor, read_stacked, reverse_kl

MEANS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def scores(points: list | Tensor, **options) -> dict[str, float]:
    coverage = MixtureCoverage(MEANS, std=0.1, **options)
    coverage.update(torch.as_tensor(points))
    return coverage.compute()


def test_by_hand():
    # Two good samples of the first mode, one of the second, one too far from the third, one a corner of the box.
    points = [[0.0, 0.29], [-0.2, -0.2], [4.0, 0.29], [0.0, 3.6], [4.25, 4.25]]
    shares = {"good": [2 / 3, 1 / 3], "all": [2 / 5, 1 / 5, 1 / 5, 1 / 5]}
    kl = {count: sum(p * math.log(4 * p) for p in share) for count, share in shares.items()}
    assert scores(points) == pytest.approx({"modes": 2, "high_quality": 3 / 5, "reverse_kl": kl["good"]})
    assert scores(points, count="all") == pytest.approx({"modes": 2, "high_quality": 3 / 5, "reverse_kl": kl["all"]})
    box = sum(p * math.log(4 * p) for p in (2 / 4, 1 / 4, 1 / 4))
    assert scores(points, region="box") == pytest.approx({"modes": 3, "high_quality": 4 / 5, "reverse_kl": box})
    assert scores(points, sigmas=5)["modes"] == 4


@pytest.mark.parametrize("kind", ["ring", "grid"])
@pytest.mark.parametrize(
    ("region", "share"), [("ball", 1 - math.exp(-9 / 2)), ("box", math.erf(3 / math.sqrt(2)) ** 2)]
)
def test_the_mixture_itself_reaches_every_mode_with_its_share_of_the_region(kind, region, share):
    data = MixtureDataModule(kind=kind)
    points, labels = data.dataset("train").images, data.dataset("train").labels
    coverage = MixtureCoverage(data.means, data.std, region=region, count="all")
    for part in points.split(9_999):
        coverage.update(part)
    result = coverage.compute()
    assert result["modes"] == len(data.means)
    assert result["high_quality"] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(points)))
    assert coverage.nearest.tolist() == labels.bincount().tolist()  # no sample is nearer to another mean
    # 2 n KL of n samples of the uniform distribution is χ² of K − 1 degrees of freedom.
    freedom = len(data.means) - 1
    assert 2 * len(points) * result["reverse_kl"] == pytest.approx(freedom, abs=4 * math.sqrt(2 * freedom))


def test_one_mode_is_log_k_away_and_none_is_nowhere():
    assert scores([[4.0, 4.0]] * 7) == pytest.approx({"modes": 1, "high_quality": 1.0, "reverse_kl": math.log(4)})
    nothing = scores([[2.0, 2.0]] * 7)
    assert (nothing["modes"], nothing["high_quality"]) == (0, 0.0)
    assert math.isnan(nothing["reverse_kl"])
    assert scores([[2.0, 1.9]] * 7, count="all")["reverse_kl"] == pytest.approx(math.log(4))


def test_reverse_kl_is_its_sum():
    histogram = torch.tensor([5, 0, 2, 1])
    assert reverse_kl(histogram) == pytest.approx(sum(n / 8 * math.log(4 * n / 8) for n in (5, 2, 1)), rel=1e-12)
    assert reverse_kl(torch.full((6,), 3)) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("sizes", [[30, 0, 1, 20], [51, 0, 0, 0]])
def test_uneven_and_empty_processes_equal_one(sizes):
    generator = torch.Generator().manual_seed(0)
    points = MEANS[torch.randint(4, (51,), generator=generator)] + 0.15 * torch.randn(51, 2, generator=generator)
    whole = MixtureCoverage(MEANS, 0.1)
    whole.update(points)
    ranks = [MixtureCoverage(MEANS, 0.1) for _ in sizes]
    for rank, share in zip(ranks, points.split(sizes), strict=True):
        rank.update(share)
    synced = MixtureCoverage(MEANS, 0.1)
    synced.update(points[:0])
    synced.distributed_available_fn = lambda: True
    # States are gathered in the order in which they were added.
    gathered = iter([[rank.good for rank in ranks], [rank.nearest for rank in ranks]])
    synced.dist_sync_fn = lambda state, group=None: next(gathered)
    assert synced.compute() == pytest.approx(whole.compute())
    assert 0 < whole.compute()["high_quality"] < 1


def test_distances_are_measured_in_float64():
    # In float32 the ring's sample at exactly 3σ would fall on either side.
    means = torch.tensor([[1000.0, 0.0], [2000.0, 0.0]])
    coverage = MixtureCoverage(means, std=1e-3)
    coverage.update(torch.tensor([[1000.0029, 0.0], [1000.0031, 0.0]], dtype=torch.float64))
    assert coverage.compute()["high_quality"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"means": torch.zeros(3)}, r"means of shape \(3,\)"),
        ({"std": 0.0}, "std=0.0"),
        ({"sigmas": -1.0}, "sigmas=-1.0"),
        ({"region": "disc"}, "region='disc'"),
        ({"count": "bad"}, "count='bad'"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureCoverage(**{"means": MEANS, "std": 0.1, **options})


def test_wrong_points_are_named():
    with pytest.raises(ValueError, match=r"points of shape \(4, 3\)"):
        scores(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="NaN"):
        scores([[0.0, math.nan]])


class MeanPixel(Extractor):
    """Reads the digit d from an image whose pixels are all d / 5 − 1."""

    name, image_shape, num_features, num_classes = "mean", (1, 2, 2), 4, 10

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        digits = torch.arange(10) / 5 - 1
        return self(images), -(self(images).mean(1, keepdim=True) - digits).abs()


def test_stacked_digits_are_read_channel_by_channel():
    digits = torch.tensor([[7, 0, 4], [0, 0, 0], [9, 9, 9], [0, 1, 2]])
    images = (digits / 5 - 1)[:, :, None, None].expand(-1, -1, 2, 2)
    modes = read_stacked(images, MeanPixel())
    assert modes.tolist() == [704, 0, 999, 12]
    coverage = StackedCoverage()
    coverage.update(modes)
    coverage.update(torch.tensor([704, 704]))
    shares = [3 / 6, 1 / 6, 1 / 6, 1 / 6]
    expected = {"modes": 4, "reverse_kl": sum(p * math.log(1000 * p) for p in shares)}
    assert coverage.compute() == pytest.approx(expected)


def test_all_stacked_modes_alike_have_no_divergence_and_processes_add_up():
    parts = [StackedCoverage(), StackedCoverage()]
    parts[0].update(torch.arange(300))
    parts[1].update(torch.arange(300, 1000))
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == pytest.approx({"modes": 1000, "reverse_kl": 0.0}, abs=1e-12)


def test_the_pinned_classifier_of_digits_is_good_enough_for_the_protocol():
    classifier = load_extractor("mnist")
    assert classifier.metadata["test_accuracy"] >= 0.99
    assert read_stacked(torch.zeros(2, 3, 28, 28), classifier).shape == (2,)


def test_wrong_modes_and_classifiers_are_named():
    with pytest.raises(ValueError, match="1000: expected 0 to 999"):
        StackedCoverage().update(torch.tensor([1000]))

    class Blind(MeanPixel):
        def classify(self, images: Tensor) -> tuple[Tensor, None]:
            return self(images), None

    with pytest.raises(ValueError, match="classifier='mean'"):
        read_stacked(torch.zeros(1, 3, 2, 2), Blind())
