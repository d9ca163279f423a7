"""What every score of samples against data promises. A new one in `SCORES` is one line in FAIR: its fair values."""

import math
import re
from functools import cache, partial

import pytest
import torch

from lit_gen.metrics import (
    SCORES,
    Comparison,
    FeatureBank,
    Features,
    compute_scores,
    kernel_distance_of_subsets,
    scores,
)

N, CLASSES, DIM = 1000, 3, 4
# Values of samples from the data's own distribution, and how far from them is still fair; worse samples are further.
FAIR = {
    "fd": {"fd": (0, 0.05)},
    "fd_infinity": {"fd_infinity": (0, 0.05)},
    "fd_class": {"fd_class_mean": (0, 0.15), "fd_class_worst": (0, 0.2)},
    "kid": {"kid": (0, 2)},
    "mifd": {"mifd": (0, 25)},
    "kid_subsets": {"kid_subsets": (0, 2), "kid_subsets_std": (0, 1)},
    "inception_score": {"inception_score": (CLASSES, 0.4), "inception_score_std": (0, 0.2)},
    "classes": {"classes": (CLASSES, 0), "top_probability": (0.95, 0.03), "label_accuracy": (0.93, 0.03)},
    "precision_recall": {"precision": (0.95, 0.03), "recall": (0.95, 0.03)},
    "density_coverage": {"density": (1, 0.1), "coverage": (0.97, 0.03)},
    "memorisation": {"authenticity": (0.5, 0.1), "memorised": (0, 0.03)},
    "diversity": {"diversity": (1, 0.05)},
    "vendi": {"vendi": (2.8, 0.1), "vendi_real": (2.8, 0.1)},
    "nn_test": {"nn_accuracy": (0.5, 0.05), "nn_accuracy_samples": (0.5, 0.06), "nn_accuracy_real": (0.5, 0.06)},
    "logistic_test": {"logistic_accuracy": (0.5, 0.05), "logistic_p": (0.5, 0.45)},
    "class_transfer": {"gan_train_linear": (0.92, 0.03), "gan_test_linear": (0.92, 0.03)},
}
every_score = pytest.mark.parametrize("score", SCORES)


@pytest.fixture(autouse=True)
def few_subsets(monkeypatch):
    """5 in place of 100, which take seconds."""
    monkeypatch.setattr(scores, "kernel_distance_of_subsets", partial(kernel_distance_of_subsets, subsets=5))


@cache
def features(n: int, seed: int, kind: str = "", dtype: torch.dtype = torch.float64) -> Features:
    """Of three normal clouds, one a class, three apart; "worse" is blown up, off by 2, and of one class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    rows = torch.randn(n, DIM, dtype=torch.float64, generator=generator).float().to(dtype)
    rows[:, 0] += 3 * labels
    if kind == "worse":
        rows = 3 * rows + 2
    logits = -(rows[:, :1] - 3 * torch.arange(CLASSES)).square()
    if kind == "worse":
        logits = 0 * logits
    order = torch.arange(n - 1, -1, -1) if kind == "reversed" else torch.arange(n)
    bank = FeatureBank(DIM, CLASSES)
    for part in order.split(300):
        bank.update(rows[part], part, logits[part], labels[part])
    return bank.compute()


def score_of(score: str, *arguments) -> dict[str, float]:
    return compute_scores([score], Comparison(features(N, 1, *arguments), features(N, 0)))


def test_every_score_is_listed():
    assert FAIR.keys() == SCORES.keys()


@every_score
def test_samples_of_the_data_s_distribution_are_fair_and_worse_ones_are_not(score):
    fair, worse = score_of(score), score_of(score, "worse")
    assert fair.keys() == FAIR[score].keys()
    for name, (value, tolerance) in FAIR[score].items():
        assert fair[name] == pytest.approx(value, abs=tolerance)
    assert any(worse[name] != pytest.approx(value, abs=tolerance) for name, (value, tolerance) in FAIR[score].items())


@every_score
def test_batches_and_their_order_change_nothing_and_float32_no_more_than_rounding(score):
    expected = score_of(score)
    assert score_of(score) == expected
    assert score_of(score, "reversed") == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert score_of(score, "", torch.float32) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def values_or_error(score: str, n: int) -> dict[str, float] | str:
    try:
        return compute_scores([score], Comparison(features(n, 1), features(n, 0)))
    except ValueError as error:
        return str(error)


@every_score
@pytest.mark.parametrize("n", [0, 1, 3])
def test_of_few_samples_it_is_said_how_many_are_needed_or_all_values_are_finite(score, n):
    found = values_or_error(score, n)
    if isinstance(found, str):
        assert re.search("need|at least", found)
        assert re.search(r"\d", found)
        assert "\n" not in found
    else:
        assert n > 0
        assert all(map(math.isfinite, found.values()))
