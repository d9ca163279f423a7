"""Sharpened logits by brute force, and quantiles whose frequencies are the probabilities."""

import math

import pytest
import torch
from scipy.stats import chisquare

from lit_gen.distributions.categorical import check_sharpening, quantile, sharpened

LOGITS = torch.randn(7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2


def kept_by_hand(logits, temperature, top_k, top_p):
    """Which codes stay, one after the other from the most probable."""
    order = sorted(range(len(logits)), key=lambda i: -float(logits[i]))[: top_k or len(logits)]
    weights = [math.exp(float(logits[i]) / temperature) for i in order]
    kept, so_far = [], 0.0
    for code, weight in zip(order, weights, strict=True):
        if top_p is None or so_far < top_p:
            kept.append(code)
        so_far += weight / sum(weights)
    return sorted(kept)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (3, None), (None, 0.7), (4, 0.5), (20, 1.0), (1, 0.1)])
def test_what_stays_is_what_stays_by_hand(temperature, top_k, top_p):
    made = sharpened(LOGITS, temperature, top_k, top_p)
    for row, logits in zip(made, LOGITS, strict=True):
        kept = kept_by_hand(logits, temperature, top_k, top_p)
        assert row.isfinite().nonzero()[:, 0].tolist() == kept
        assert torch.equal(row[kept], logits[kept] / temperature)


def test_equal_logits_are_cut_off_too():
    assert sharpened(torch.zeros(1, 4), top_k=2).isfinite().tolist() == [[True, True, False, False]]
    assert sharpened(torch.zeros(1, 4), top_p=0.5).isfinite().tolist() == [[True, True, False, False]]


def test_frequencies_are_the_probabilities():
    logits, n = torch.tensor([0.0, -1.0, 2.0, -math.inf, 1.5]), 20_000
    noise = torch.randn(n, generator=torch.Generator().manual_seed(1))
    counts = quantile(logits.expand(n, -1), noise).bincount(minlength=5).double()
    assert counts[3] == 0
    expected = n * logits.double().softmax(0)
    possible = expected > 0
    assert chisquare(counts[possible].numpy(), expected[possible].numpy()).pvalue > 0.01


@pytest.mark.parametrize("extreme", [-40.0, -9.0, 9.0, 40.0])
def test_no_extreme_number_draws_what_has_no_probability(extreme):
    logits = torch.tensor([[-math.inf, 1.0, 2.0, -math.inf]], dtype=torch.float32)
    assert quantile(logits, torch.tensor([extreme])).item() == (1 if extreme < 0 else 2)


def test_quantiles_are_those_of_the_distribution_function():
    noise = torch.linspace(-3, 3, 7, dtype=torch.float64)
    drawn = quantile(LOGITS, noise)
    for code, logits, number in zip(drawn.tolist(), LOGITS, noise, strict=True):
        sums = [0.0, *logits.softmax(0).cumsum(0).tolist()]
        assert sums[code] <= (1 + math.erf(float(number) / math.sqrt(2))) / 2 < sums[code + 1]


@pytest.mark.parametrize(
    ("options", "told"),
    [((0.0, None, None), "temperature=0.0"), ((math.nan, None, None), "temperature=nan"), ((1.0, 0, None), "top_k=0"),
     ((1.0, None, 0.0), "top_p=0.0"), ((1.0, None, 1.5), "top_p=1.5")],
)  # fmt: skip
def test_numbers_out_of_range_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        check_sharpening(*options)
