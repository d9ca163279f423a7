import argparse
import json
import logging
import math
from functools import partial

import lightning.pytorch as L
import pytest
import torch

from datamodules import DigitsDataModule
from lit_gen import HierarchicalVAE
from lit_gen.cli.support import configs_folder
from lit_gen.networks import Ladder


@pytest.fixture(scope="module")
def collapse(load_script):
    return load_script("experiments/collapse.py")


def test_rows_are_shipped_configs_with_a_warm_up_of_a_tenth(collapse, monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(collapse.subprocess, "run", lambda command, check: commands.append(command))
    arguments = argparse.Namespace(root=tmp_path, seed=3, epochs=10, data_root="here", data_download="false")
    for row in collapse.ROWS:
        collapse.train(row, arguments)
        command = commands[-1]
        (config,) = [option.split("=")[1] for option in command if option.startswith("--config=")]
        assert (configs_folder() / f"{config}.yaml").exists()
        assert {"--trainer.max_steps=2140", "--seed_everything=3", "--data.root=here", f"--experiment={row}"} <= set(
            command
        )
    assert sum("--model.objective.warm_up.updates=214" in command for command in commands) == 3


def test_a_row_is_measured_and_printed(collapse, monkeypatch, tmp_path, capsys):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    module = HierarchicalVAE((1, 8, 8), partial(Ladder, latent_dims=(4, 3), widths=(8, 6)))
    trainer = L.Trainer(
        accelerator="cpu", max_steps=2, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=16))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    monkeypatch.setattr(collapse, "test_images", lambda *_: torch.rand(120, 1, 8, 8))
    result = collapse.measure(tmp_path / "last.ckpt", argparse.Namespace(images=30, samples=20))
    assert [len(result[name]) for name in ("active_units_kl", "active_units_variance", "kl_nats")] == [2, 2, 2]
    assert all(-0.1 < value <= math.log(30) for value in result["information_nats"])
    assert 30 < result["nll_is20"] < 60  # 64 pixels at about log 2
    (tmp_path / "ladder").mkdir()
    (tmp_path / "ladder" / "result.json").write_text(json.dumps({**result, "cpu_seconds": 12.3}))
    collapse.print_table(tmp_path)
    header, _, row = capsys.readouterr().out.strip().splitlines()
    assert "nll_is20_dynamic" in header
    assert row.count("|") == header.count("|")
    assert row.startswith("| ladder + BN + warm-up |")
    assert f"{result['nll_is20']:.2f} | 12 s" in row
