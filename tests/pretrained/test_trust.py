"""Files and options from elsewhere run nothing of their own."""

import os
import re
import sys
import zipfile
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from datamodules import DigitsDataModule
from lit_gen import GAN, from_pretrained
from lit_gen.callbacks import AtomicCheckpointIO, RunCheckpoint
from lit_gen.cli.app import main
from lit_gen.files import check_archive
from lit_gen.networks import MLPDiscriminator, MLPGenerator

EVIL = """
from pathlib import Path
Path("imported").touch()

class Evil:
    def __init__(self, *arguments, **options):
        Path("instantiated").touch()
    def __call__(self, *arguments):
        Path("called").touch()
"""
FIT = ["fit", "--data", "DigitsDataModule", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
GAN_ON_DIGITS = [*FIT, "--model", "GAN"]
POPEN = '{"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "instantiated"]}}'
EVIL_CLASS = '{"class_path": "evil.Evil"}'
LAMBDA_LR = '{"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "os.system"}}'
LAMBDA = '[{"class_path": "LambdaCallback", "init_args": {"on_fit_start": "os.abort"}}]'
WANDB = f'{{"class_path": "WandbLogger", "init_args": {{"offline": true, "config_exclude_keys": {EVIL_CLASS}}}}}'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("evil.py").write_text(EVIL)
    yield tmp_path
    sys.modules.pop("evil", None)


def traces():
    return [name for name in ("imported", "instantiated", "called") if Path(name).exists()]


@pytest.mark.parametrize(
    "arguments",
    [
        [*FIT, "--model", "os.system"],
        [*FIT, "--model", "builtins.print"],
        [*FIT, "--model", EVIL_CLASS],
        [*GAN_ON_DIGITS, "--model.loss", POPEN],
        [*GAN_ON_DIGITS, "--model.generator", EVIL_CLASS],
        [*GAN_ON_DIGITS, "--model.generator_optimizer", POPEN],
        [*GAN_ON_DIGITS, "--model.generator_scheduler", LAMBDA_LR],
        [*GAN_ON_DIGITS, "--trainer.callbacks", f"[{POPEN}]"],
        [*GAN_ON_DIGITS, "--trainer.callbacks", LAMBDA],
        [*GAN_ON_DIGITS, "--trainer.logger", WANDB],
        [*GAN_ON_DIGITS, "--data", POPEN],
    ],
)
def test_a_class_that_the_type_does_not_allow_is_not_instantiated(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert set(traces()) <= {"imported"}
    err = capsys.readouterr().err
    assert err.count("lit-gen: error:") == 1
    assert not Path("runs").exists()


def test_where_anything_is_allowed_no_class_is_built(monkeypatch):
    from jsonargparse import ArgumentParser

    from lit_gen.cli.imports import restrict_imports

    restrict_imports()
    parser = ArgumentParser()
    parser.add_argument("--anything", type=object)
    value = parser.instantiate(parser.parse_args(["--anything", EVIL_CLASS])).anything
    assert "instantiated" not in traces()
    assert value["class_path"] == "evil.Evil"


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("instantiated",)


@pytest.fixture
def checkpoint(tmp_path):
    small = {"generator": partial(MLPGenerator, width=4), "discriminator": partial(MLPDiscriminator, width=4)}
    trainer = L.Trainer(
        accelerator="cpu", max_steps=1, logger=False, default_root_dir=tmp_path, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[RunCheckpoint()], plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    trainer.fit(GAN((1, 8, 8), 4, **small), datamodule=DigitsDataModule())
    return tmp_path / "checkpoints" / "last.ckpt"


def changed(path, **entries):
    content = torch.load(path, weights_only=True)
    torch.save({**content, **entries}, "changed.ckpt")
    return "changed.ckpt"


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_in_a_checkpoint_is_refused_by_every_command(checkpoint, capsys):
    bomb = changed(checkpoint, extra=Bomb())
    Path("pictures").mkdir()
    for command in (
        ["fit", "--ckpt_path", bomb], ["validate", "--ckpt_path", bomb], ["test", "--ckpt_path", bomb],
        ["predict", "--ckpt_path", bomb], ["sample", bomb], ["encode", bomb, "pictures"],
        ["evaluate", "pictures", bomb], ["evaluate", bomb, "pictures"], ["export", bomb, "--format=safetensors"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 2
        assert traces() == [], command
        assert "changed.ckpt: not a whole checkpoint" in capsys.readouterr().err or command[1] == "pictures"
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        from_pretrained(bomb)
    assert traces() == []


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_names_a_foreign_package_imports_nothing(checkpoint, capsys):
    content = torch.load(checkpoint, weights_only=True)
    for key, stored in (("model", "hyper_parameters"), ("data", "datamodule_hyper_parameters")):
        path = changed(checkpoint, **{stored: {**content[stored], "_class_path": "evil.Evil"}})
        with pytest.raises(SystemExit) as stop:
            main(["test", "--ckpt_path", path])
        assert stop.value.code == 2
        assert "names evil.Evil, of a package that is not of this library" in capsys.readouterr().err, key
        assert traces() == []


def test_pickled_arrays_are_refused(capsys):
    content = np.array([Bomb()], dtype=object)
    np.save("a.npy", content, allow_pickle=True)
    np.savez("a.npz", images=content)
    Path("pictures").mkdir()
    for name in ("a.npy", "a.npz"):
        data = ["--data", "ArrayDataModule", "--data.path", name]
        for command in (["fit", "--model", "GAN", *data], ["encode", "vae_digits", name], ["evaluate", name, name]):
            with pytest.raises(SystemExit) as stop:
                main(command)
            assert stop.value.code == 2, capsys.readouterr().err
    assert traces() == []


def test_a_damaged_record_is_found(tmp_path):
    torch.save({"a": torch.zeros(1000)}, "whole.ckpt")
    check_archive("whole.ckpt")
    content = bytearray(Path("whole.ckpt").read_bytes())
    with zipfile.ZipFile("whole.ckpt") as archive:
        name = next(info.filename for info in archive.infolist() if info.file_size == 4000)
        start = archive.getinfo(name).header_offset
    content[start + 2000] ^= 1
    Path("damaged.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged: .*data/0"):
        check_archive("damaged.ckpt")
    for end in (0, 10, len(content) // 2, len(content) - 10):
        Path("damaged.ckpt").write_bytes(content[:end])
        with pytest.raises(ValueError, match="truncated"):
            check_archive("damaged.ckpt")


# Package: the lowest release that may be installed, and what is wrong with those before it.
LOWEST = {
    "lightning": ((2, 6, 4), "2.6.2 and 2.6.3 were compromised on the package index"),
    "torch": ((2, 10), "CVE-2025-32434, before 2.6: weights_only=True runs code; CVE-2026-24747, before 2.10"),
    "pillow": ((12, 1, 1), "CVE-2026-25990, before 12.1.1: writes out of bounds; CVE-2023-50447, CVE-2024-28219"),
    "pyyaml": ((5, 4), "CVE-2020-14343, before 5.4: loading runs code"),
    "scikit-learn": ((1, 5), "CVE-2024-5206, before 1.5"),
    "jsonargparse": ((4, 53), "has no list of import paths that options may not name"),
}


@pytest.mark.parametrize("package", LOWEST)
def test_lower_bounds_exclude_releases_known_to_be_bad(package):
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (bound,) = re.findall(rf'"{package}(?:\[\w+\])?>=([\d.]+)', text)
    given = tuple(map(int, bound.split(".")))
    lowest, reason = LOWEST[package]
    assert given >= lowest, reason
