import numpy as np
import pytest
import torch

from lit_gen.metrics import InceptionScore


def score(logits: torch.Tensor, splits: int = 10, batch: int = 7) -> dict[str, float]:
    metric = InceptionScore(logits.shape[1], splits)
    for part in torch.arange(len(logits)).split(batch):
        metric.update(logits[part], part)
    return metric.compute()


def test_sure_of_every_class_alike_is_the_number_of_classes():
    logits = 1e3 * torch.eye(8).repeat(10, 1)
    assert score(logits, splits=5)["inception_score"] == pytest.approx(8)


@pytest.mark.parametrize("logits", [torch.zeros(40, 5), 50 * torch.eye(5)[:1].repeat(40, 1)])
def test_unsure_or_collapsed_is_one(logits):
    assert score(logits) == pytest.approx({"inception_score": 1, "inception_score_std": 0}, abs=1e-12)


def test_is_the_definition():
    logits = 3 * torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(logits.double(), 1).numpy()
    parts = [p[i::6] for i in range(6)]
    expected = [np.exp(np.mean([sum(q * np.log(q / part.mean(0))) for q in part])) for part in parts]
    found = score(logits, splits=6)
    assert found["inception_score"] == pytest.approx(np.mean(expected), rel=1e-10)
    assert found["inception_score_std"] == pytest.approx(np.std(expected), rel=1e-8)


def test_agrees_with_torch_fidelity():
    """Its parts are consecutive, so the samples are dealt out in that order; to 1e-6, as it works in float32 logits."""
    fidelity = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 2 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    options = {"samples_shuffle": False, "isc_splits": 10, "rng_seed": 0}
    theirs = fidelity.isc_features_to_metric(logits, 10, False, 0)
    dealt = logits.view(10, 20, 6).transpose(0, 1).reshape(200, 6)
    found = score(dealt, splits=options["isc_splits"])
    assert found["inception_score"] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert found["inception_score_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-5)


def test_batches_and_their_order_change_nothing():
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    whole = score(logits, batch=50)
    assert score(logits, batch=3) == pytest.approx(whole, rel=1e-12)


def test_refuses_too_few():
    with pytest.raises(ValueError, match="inception score of 9 samples in 10 parts: too few"):
        score(torch.zeros(9, 3))
    with pytest.raises(ValueError, match="splits=0"):
        InceptionScore(3, 0)
