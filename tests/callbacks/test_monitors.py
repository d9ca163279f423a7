"""Monitors by kind: for the run's own checkpoint and for the framework's callbacks, also where a run goes on."""

import json
import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from lit_gen.callbacks.monitors import find_score, take_names_of
from lit_gen.cli.app import main

NAMES = {"val/fd_mnist_10k", "val/fd_infinity_mnist_10k", "val/fd_class_mean_mnist_10k", "val/nelbo_nats"}
FIT = ["fit", "--model=VAE", "--data=DigitsDataModule", "--trainer.accelerator=cpu", "--evaluate.num_samples=20",
       "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false"]  # fmt: skip


def stopping(monitor, kind="EarlyStopping"):
    patience = {"patience": 2} if kind == "EarlyStopping" else {}
    return ["--trainer.callbacks", json.dumps([{"class_path": kind, "init_args": {"monitor": monitor, **patience}}])]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_kind_means_one_name_however_many_samples_there_are():
    assert find_score("fd", NAMES) == "val/fd_mnist_10k"
    assert find_score("fd_infinity", NAMES) == "val/fd_infinity_mnist_10k"
    assert find_score("fd", {"val/fid_inception_50k"}) == "val/fid_inception_50k"
    assert find_score("val/nelbo_nats", NAMES) == "val/nelbo_nats"
    with pytest.raises(ValueError, match="no such score is logged"):
        find_score("fd", NAMES - {"val/fd_mnist_10k"})
    with pytest.raises(ValueError, match="x=fd: which of val/fd_a_9, val/fd_b_9"):
        find_score("fd", {"val/fd_a_9", "val/fd_b_9"}, "x")


def test_early_stopping_by_kind_counts_on_where_a_run_goes_on():
    main([*FIT, "--trainer.max_steps=2", *stopping("fd")])
    (last,) = Path("runs").glob("*/*/checkpoints/last.ckpt")
    states = torch.load(last, weights_only=True)["callbacks"]
    (key,) = (key for key in states if key.startswith("EarlyStopping"))
    assert "val/fd_digits_20" in key
    callback = EarlyStopping(monitor="fd")
    take_names_of({"callbacks": states}, [callback])
    assert callback.state_key == key
    other = EarlyStopping(monitor="kid")
    take_names_of({"callbacks": states}, [other])
    assert other.monitor == "kid"


@pytest.mark.parametrize("kind", ["EarlyStopping", "ModelCheckpoint"])
def test_an_unknown_monitor_is_one_line_before_training(kind, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*FIT, "--trainer.max_steps=2", *stopping("val/fdd", kind)])
    err = capsys.readouterr().err
    assert re.search(rf"error: {kind}.monitor=val/fdd: no such score is logged \(logged: .*val/fd_digits_20", err)
    assert not Path("runs").exists()
