import pytest
import torch

from lit_gen.metrics import ClassCoverage


def test_counts_argmaxes_and_averages_top_probabilities():
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]).log() + 3.0
    coverage = ClassCoverage(3)
    for row in logits:
        coverage.update(row[None])
    assert coverage.compute() == {"classes": 2, "top_probability": pytest.approx((0.5 + 0.7 + 0.6) / 3)}


def test_processes_add_up():
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    whole, parts = ClassCoverage(4), [ClassCoverage(4), ClassCoverage(4)]
    whole.update(logits)
    for part, share in zip(parts, logits.split([7, 2]), strict=True):
        part.update(share)
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == pytest.approx(whole.compute())
    assert parts[0].histogram.tolist() == logits.argmax(1).bincount(minlength=4).tolist()


def test_nothing_seen():
    with pytest.warns(UserWarning, match="before"):
        assert ClassCoverage(3).compute() == {"classes": 0, "top_probability": 0.0}
