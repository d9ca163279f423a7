"""The memory of a long run is flat."""

import pytest


@pytest.mark.filterwarnings("ignore")
def test_memory_does_not_grow_over_some_hundred_batches(capsys, tmp_path, monkeypatch, load_script):
    monkeypatch.chdir(tmp_path)
    soak = load_script("experiments/soak.py")
    measured = soak.soak(300, 5, ["--trainer.limit_val_batches=1"])
    assert [batch for batch, _ in measured] == list(range(5, 301, 5))
    # A batch's graph or loss that is kept is some 10 kB here; the allocator's noise below 1 MB over 150 batches.
    assert soak.slope(measured) * 150 < 1e6
    assert soak.slope([(i, 4096 * i) for i in range(100)]) == pytest.approx(4096)
