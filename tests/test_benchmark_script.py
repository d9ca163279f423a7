"""The benchmark runs both sides of a step, and counts what they compute."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "scripts" / "benchmark"))
import beside
import scores
import steps


def test_both_sides_of_a_step_compute_the_same(tmp_path):
    row = replace(steps.ROWS["mlp_gan_2d"], steps=2, warm_up=1)
    ours, peer = (run(row, tmp_path, "cpu", True) for run in steps.SIDES.values())
    assert min(ours.cpu, ours.wall, peer.cpu, peer.wall) > 0

    # The peer takes the discriminator's gradients in the generator's step too.
    assert ours.flops == pytest.approx(peer.flops, rel=0.2)


def test_a_players_updates_are_timed_alone(tmp_path):
    row = replace(steps.ROWS["mlp_gan_2d"], steps=3, warm_up=1)
    rows = (replace(row, player=player) for player in (None, "generator"))
    whole, one = (steps.ours(row, tmp_path, "cpu", False) for row in rows)
    assert 0 < one.cpu < whole.cpu


def test_mnists_files_are_torchvisions(tmp_path):
    import torchvision

    steps.write_mnist(tmp_path)
    data = torchvision.datasets.MNIST(tmp_path, train=True)
    assert data.data.shape == (60_000, 28, 28)
    assert 0.75 < (data.data == 0).double().mean() < 0.85


def test_the_peak_is_this_process_own():
    before = scores.peak_kib()
    block = bytearray(64 * 2**20)
    assert scores.peak_kib() >= before
    assert len(block) // 1024 < scores.peak_kib()


@pytest.mark.parametrize("side", ["prdc", "torch_fidelity"])
def test_the_sides_of_scores_by_neighbours_agree(side):
    pytest.importorskip(side)
    samples, real = (torch.randn(60, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    ours, theirs = scores.ours(samples, real), scores.NEIGHBOURS[side](samples, real)
    assert theirs == pytest.approx({name: ours[name] for name in theirs}, abs=1e-6)


def test_a_checkout_beside_itself_takes_turns(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(beside, "LONGER", 1)
    rows = {"rows": ["mlp_gan_2d"], "rounds": 1, "device": "cpu", "threads": 1, "json": str(tmp_path / "steps.json")}
    beside.beside(SimpleNamespace(beside=str(beside.HERE), **rows))
    (result,) = json.loads((tmp_path / "steps.json").read_text())
    assert [len(each) for each in result["seconds"].values()] == [2, 2]
    assert all(seconds > 0 for each in result["seconds"].values() for seconds in each)
    assert 0.2 < result["ratio"] < 5
    assert "| mlp_gan_2d |" in capsys.readouterr().out


def test_a_side_that_fails_is_named(tmp_path):
    with (
        beside.Stretches(beside.HERE, "no such row", str(tmp_path), "cpu", 1) as stretches,
        pytest.raises(RuntimeError, match="ended before its time"),
    ):
        stretches.seconds()
