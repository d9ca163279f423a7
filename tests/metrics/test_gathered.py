"""What travels between processes for the scores doesn't grow with the number of images."""

import pytest
import torch

from lit_gen.metrics.bank import Reservoir
from lit_gen.metrics.moments import FeatureMoments

D, CAPACITY = 5, 50


@pytest.mark.parametrize("count", [2000, 5000])
def test_moments_are_summed_and_rows_gathered_up_to_the_capacity(count, monkeypatch):
    summed, gathered = [], []

    def gather(tensor, group=None):
        gathered.append(tuple(tensor.shape))
        return [tensor, tensor]

    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor, group=None: summed.append(tensor.numel()))
    moments, rows = FeatureMoments(D), Reservoir(D, CAPACITY)
    for start in range(0, count, 100):
        features = torch.randn(100, D)
        moments.update(features)
        rows.update(features, torch.arange(start, start + 100))
    moments._sync_dist(gather)
    assert gathered == []
    assert sum(summed) == 1 + D + D * D
    rows._sync_dist(gather)
    assert gathered == [(CAPACITY, 2), (CAPACITY, D)]
