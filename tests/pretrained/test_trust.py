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
from lit_gen.pretrained.stored import checkpoint_config

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


# What a file from elsewhere may put where a class or a function is expected: each form of naming evil.Evil.
FORMS = {
    "class_path": {"class_path": "evil.Evil"},
    "string": "evil.Evil",
    "text of YAML": '{"class_path": "evil.Evil"}',
    "escaped": '{"class_path": "\\u0065vil.Evil"}',
    "beside init_args": {"class_path": "evil.Evil", "init_args": {"lr": 0.1}},
}
PLACES = {"model": "_class_path", "generator": "generator", "optimizer": "generator_optimizer", "loss": "loss"}


def foreign(checkpoint, place, form):
    """A checkpoint that names the package ``evil`` somewhere."""
    content = torch.load(checkpoint, weights_only=True)
    if place == "data":
        return changed(checkpoint, datamodule_hyper_parameters={"_class_path": "evil.Evil"})
    data = {"datamodule_hyper_parameters": {"_class_path": "datamodules.DigitsDataModule"}}
    if place == "callbacks":
        return changed(checkpoint, **data, options={"trainer": {"callbacks": [FORMS[form]]}, "seed_everything": 3})
    value = "evil.Evil" if place == "model" else FORMS[form]
    return changed(checkpoint, **data, hyper_parameters={**content["hyper_parameters"], PLACES[place]: value})


CASES = [("model", "string"), ("data", "string"), ("callbacks", "class_path"), ("callbacks", "text of YAML")]
CASES += [(place, form) for place in ("generator", "optimizer", "loss") for form in FORMS]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("place", "form"), CASES)
def test_no_route_lets_a_checkpoint_import_a_foreign_package(checkpoint, capsys, place, form):
    path = foreign(checkpoint, place, form)
    Path("given.yaml").write_text(f"ckpt_path: {path}\n")
    Path("whole.yaml").write_text(f"ckpt_path: {path}\nmodel: GAN\ndata: DigitsDataModule\n")
    Path("runs/x/time/checkpoints").mkdir(parents=True)
    Path("runs/x/time/checkpoints/last.ckpt").write_bytes(Path(path).read_bytes())
    np.savez("real.npz", images=np.zeros((4, 8, 8), np.uint8))
    known = ["--model=GAN", "--data=DigitsDataModule"]
    routes = [["test", "--ckpt_path", path], ["fit", f"--ckpt_path={path}"], ["test", "--config", "given.yaml"],
              ["fit", "--config", "whole.yaml"], ["fit", *known, "--experiment=x", "--ckpt_path=last"],
              ["test", "--experiment=x", "--ckpt_path=last"], ["predict", *known, "--ckpt_path", path]]  # fmt: skip
    if place == "data":
        routes = [*routes[:4], *routes[5:6], ["evaluate", path, "vae_digits"]]
    elif place != "callbacks":
        routes += [["sample", path, "--out=a.png"], ["encode", path, path], ["export", path, "--format=safetensors"],
                   ["evaluate", "real.npz", path]]  # fmt: skip
    for route in routes:
        status = 0
        try:
            main([*route, "--trainer.max_steps=2", "--trainer.accelerator=cpu"] if route[0] in TRAINED else route)
        except SystemExit as stop:
            status = stop.code
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert traces() == [], route
        assert status == 2 or place == "callbacks", (route, err)
        assert status != 2 or re.search("evil|not allowed|expected|outside the trusted packages", err), (route, err)


TRAINED = ("fit", "test", "predict")


@pytest.mark.filterwarnings("ignore")
def test_a_package_that_the_user_names_is_imported(checkpoint, capsys):
    Path("mine.py").write_text("from lit_gen.networks import MLPGenerator\nclass Mine(MLPGenerator): ...\n")
    content = torch.load(checkpoint, weights_only=True)
    own = {"class_path": "mine.Mine", "init_args": {"width": 4}}
    path = changed(checkpoint, hyper_parameters={**content["hyper_parameters"], "generator": own},
                   datamodule_hyper_parameters={"_class_path": "datamodules.DigitsDataModule"})  # fmt: skip
    quick = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--evaluate.extractor=null"]
    with pytest.raises(SystemExit):
        main(["test", "--ckpt_path", path, *quick])
    assert "names mine.Mine" in capsys.readouterr().err
    main(["test", "--ckpt_path", path, "--trust", "mine", *quick])
    main(["test", "--ckpt_path", path, "--model.generator=mine.Mine", "--model.generator.width=4", *quick])
    sys.modules.pop("mine", None)


def test_only_data_modules_are_made_of_what_a_checkpoint_calls_its_data(checkpoint, capsys):
    for name in ("datamodules.shard_writer.write_shards", "datamodules.datasets.InMemoryDataset", "lit_gen.GAN"):
        path = changed(checkpoint, datamodule_hyper_parameters={"_class_path": name, "folder": "written"})
        for route in (["evaluate", path, "vae_digits"], ["test", "--ckpt_path", path]):
            with pytest.raises(SystemExit) as stop:
                main(route)
            assert stop.value.code == 2
            assert "lit-gen: error:" in capsys.readouterr().err


def test_a_checkpoint_chooses_neither_folders_to_write_to_nor_sources_nor_the_network(checkpoint, capsys):
    Image = pytest.importorskip("PIL.Image")
    Path("photos").mkdir()
    for i in range(40):
        Image.new("L", (8, 8), i).save(f"photos/{i}.png")
    data = {"_class_path": "datamodules.ImageFolderDataModule", "root": "photos", "image_size": 8, "channels": 1,
            "batch_size": 4, "cache": "disk", "cache_folder": "elsewhere"}  # fmt: skip
    content = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    path = changed(checkpoint, datamodule_hyper_parameters=data, hyper_parameters={**content, "init_from": "evil/evil"},
                   options={"evaluate": {"cache": "elsewhere", "extractor": "pixels", "num_samples": 10}})  # fmt: skip
    quick = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    main(["test", "--ckpt_path", path, *quick])
    err = capsys.readouterr().err
    assert "data.cache='disk' of the checkpoint is not taken" in err
    main(["evaluate", path, path, "--extractor=pixels", "--cache=off", "--num_samples=10"])
    from_pretrained(path)
    assert not Path("elsewhere").exists()
    main(["test", "--ckpt_path", path, *quick, "--data.cache=disk", "--data.cache_folder=elsewhere"])
    assert Path("elsewhere").exists()
    assert checkpoint_config(changed(checkpoint, datamodule_hyper_parameters={**data, "download": True}))["data"][
        "init_args"]["download"] is False  # fmt: skip


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
