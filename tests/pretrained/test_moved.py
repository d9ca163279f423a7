"""What was written before modules moved: checkpoints, model folders, configurations and scripts."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lit_gen
from lit_gen.cli.app import main
from lit_gen.moved import MOVED
from lit_gen.pretrained.stored import checkpoint_config

WRITTEN = Path(__file__).parent / "written_before"


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_moved_module_itself(old):
    assert importlib.import_module(f"lit_gen.{old}") is importlib.import_module(f"lit_gen.{MOVED[old]}")


@pytest.mark.parametrize("name", ["cli", "pretrained", "modules", "latest", "modules.player_", "commands.missing"])
def test_no_other_name_is_found(name):
    path = Path(lit_gen.__file__).parent / name.replace(".", "/")
    if path.is_dir():
        assert name not in MOVED
    else:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"lit_gen.{name}")


def test_old_names_cost_nothing_until_they_are_asked_for():
    code = "import sys, lit_gen; print(*[m for m in sys.modules if m.startswith('lit_gen')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lit_gen.moved", "lit_gen"]


def test_a_checkpoint_loads():
    path = WRITTEN / "gan.ckpt"
    assert (
        checkpoint_config(path)["model"]["init_args"]["unroll"]["class_path"] == "lit_gen.modules.unrolled.UnrolledSGD"
    )
    module = lit_gen.from_pretrained(path)
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert isinstance(module, lit_gen.GAN)
    assert module.unroll.steps == 1
    assert all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())
    assert module.sample(3).shape == (3, 1, 8, 8)


def test_a_model_folder_loads():
    module = lit_gen.from_pretrained(WRITTEN / "vae")
    assert isinstance(module, lit_gen.VAE)
    assert type(module.prior).__name__ == "GaussianMixture"
    assert module.sample(3).shape == (3, 1, 8, 8)


def test_a_run_goes_on_from_its_checkpoint_and_from_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--trainer.enable_progress_bar", "false"]
    unscored = ["--evaluate.extractor", "null", "--checkpoint.monitor", "null", "--trainer.accelerator", "cpu"]
    shutil.copy(WRITTEN / "gan.ckpt", "old.ckpt")
    main(["fit", "--ckpt_path", "old.ckpt", "--experiment", "on", *quick, *unscored])
    (last,) = tmp_path.glob("runs/on/*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert "lit_gen.loggers.TensorBoardRun" in (WRITTEN / "gan.yaml").read_text()
    main(["fit", "--config", str(WRITTEN / "gan.yaml"), "--experiment", "again", *quick, *unscored])
    assert [*tmp_path.rglob("events.out.*")]
    (last,) = tmp_path.glob("runs/again/*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 4


def test_a_module_of_a_moved_package_is_no_second_copy():
    assert importlib.import_module("lit_gen.commands.sample") is importlib.import_module("lit_gen.cli.commands.sample")
