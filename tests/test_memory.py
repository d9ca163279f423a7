"""The memory of a long run is flat."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "experiments" / "soak.py"


@pytest.mark.filterwarnings("ignore")
def test_memory_does_not_grow_over_some_hundred_batches(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    specification = importlib.util.spec_from_file_location("soak", SCRIPT)
    soak = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(soak)
    measured = soak.soak(300, 5, ["--trainer.limit_val_batches=1"])
    assert [batch for batch, _ in measured] == list(range(5, 301, 5))
    # A batch's graph or loss that is kept is some 10 kB here; the allocator's noise below 1 MB over 150 batches.
    assert soak.slope(measured) * 150 < 1e6
    assert soak.slope([(i, 4096 * i) for i in range(100)]) == pytest.approx(4096)
