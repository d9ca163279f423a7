"""What the command line says: one line, with what would be accepted and the nearest word; progress by the clock."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lit_gen.cli.app import main
from lit_gen.cli.mistakes import users_error
from lit_gen.cli.support import put_wholes_first
from lit_gen.modules import GenerativeModule

DATA = ["--data", "DigitsDataModule", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
GAN = ["fit", "--model", "GAN", *DATA]
STOP = '{"class_path": "EarlyStopping", "init_args": {"monitor": "val/fd"}}'


class Unmeasured(GenerativeModule):
    """Says nothing of held-out batches."""

    def __init__(self, image_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(image_shape, None)

    def training_step(self, batch, batch_idx):
        pass


CASES = [
    (["fitt"], "unknown command fitt; did you mean fit.*sample, encode, invert, directions, video, explore, evaluate"),
    ([*GAN, "--modell.x", "3"], "unknown option --modell.x; did you mean --model"),
    ([*GAN, "--trainer.max_stps=3"], "unknown option --trainer.max_stps; did you mean --trainer.max_steps"),
    (["fit", "--model", "VAE", *DATA, "--model.encoder", "MLPDecoder"],
     "encoder: MLPDecoder is no encoder but a decoder; did you mean MLPEncoder?"),
    (["fit", "--model", "GAN"], "--data is required: a path of images, or a class, accepted: .*DigitsDataModule"),
    (["fit", *DATA], "--model is required: .*WGANGP.*--config"),
    (["fit", "vae_digits"], "unexpected argument vae_digits.*--config vae_digits"),
    (["sample", "cgan_digits", "--labels", "11"], "--labels=11: cgan_digits: no class 11; the classes are from 0 to 9"),
    (["sample", "vae_digits", "--lables", "1"], "sample: unknown option --lables; did you mean --labels?"),
    (["sample", "vae_digit"], "did you mean vae_digits?"),
    (["sample"], "sample: source is required"),
    (["encode", "vae_digits"], "encode: images is required"),
    (["export", "vae_digits"], "export: --format is required"),
    (["list", "--jsn"], "list: unknown option --jsn; did you mean --json?"),
    (["fit", "--config", "gan_digit"], "--config gan_digit: .*did you mean gan_digits"),
    ([*GAN, "--trainer.gradient_clip_val=0.5"], "--model.discriminator_clip_norm, --model.generator_clip_norm"),
    ([*GAN, "--trainer.accumulate_grad_batches=2"], "--model.discriminator_accumulate, --model.generator_accumulate"),
    ([*GAN, "--trainer.callbacks", f"[{STOP}]"], "EarlyStopping.monitor=val/fd: no such score"),
    (["evaluate", "vae_digits", "vae_digits", "--device", "cuda:99"], "device=cuda:99: not on this machine"),
    (["sample", "vae_digits", "--device", "cuda:99"], "device=cuda:99: not on this machine"),
    ([*GAN, "--checkpoint.monitor=val/fd_digits_1000", "--evaluate.extractor=null"], "--checkpoint.monitor null"),
    (["test", "--config", "gan_digits"], "test without --ckpt_path.*--untrained true"),
    (["predict", *GAN[1:]], "predict without --ckpt_path"),
    (["fit", "--ckpt_path", "vae_digits"], "weights alone.*--model.init_from vae_digits"),
    (["test", "--model", "test_error_messages.Unmeasured", *DATA, "--untrained", "true"],
     "Unmeasured: test needs its test_step; `test_step = validation_step` takes what validation measures"),
    (["validate", "--model", "test_error_messages.Unmeasured", *DATA, "--untrained", "true"],
     "Unmeasured: validate needs its validation_step$"),
    (["test", "--ckpt_path", "vae_digit"], "--ckpt_path vae_digit: .*did you mean vae_digits?"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "expected"), CASES)
def test_a_mistake_is_one_line_that_helps(arguments, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line.startswith("lit-gen: error: ")
    assert re.search(expected, line)
    assert not Path("runs").exists()


def test_one_score_needs_no_brackets_and_a_cache_can_be_off(capsys):
    quick = ["--trainer.max_steps=2", "--evaluate.num_samples=20", "--evaluate.cache=off", "--samples.num_samples=1"]
    main([*GAN, *quick, "--evaluate.scores", "kid", "--checkpoint.monitor=kid", "--trainer.val_check_interval=2"])
    assert not Path("off").exists()
    (folder,) = Path("runs/gan-digits").iterdir()
    assert "val/kid_digits_20" in (folder / "metrics.csv").read_text()
    assert (folder / "checkpoints/best.ckpt").is_file()  # of the kind of score, whatever its name is here


def test_a_monitored_kind_of_score_is_of_no_consequence_where_samples_are_not_scored(caplog):
    quick = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", "--evaluate.extractor=null"]
    main([*GAN, *quick, "--checkpoint.monitor=fd"])
    assert "checkpoint.monitor=fd: samples are not scored, so there is no best.ckpt" in caplog.text
    assert [path.name for path in Path("runs").glob("*/*/checkpoints/*")] == ["last.ckpt"]


@pytest.mark.parametrize(("given", "steps", "validations"), [
    (["--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=1"], 6, 2), (["--trainer.max_epochs=1"], 3, 1),
])  # fmt: skip
def test_epochs_need_no_steps_beside_them(given, steps, validations):
    main([*GAN, "--data.batch_size=399", *given, "--evaluate.num_samples=20", "--evaluate.at_start=false",
          "--trainer.log_every_n_steps=1"])  # fmt: skip
    (folder,) = Path("runs/gan-digits").iterdir()
    assert json.loads((folder / "run.json").read_text())["step"] == steps
    assert sum("." in row for row in column(folder / "metrics.csv", "val/fd_digits_20")) == validations


def column(path, name):
    import csv

    with path.open() as file:
        return [row.get(name) or "" for row in csv.DictReader(file)]


def test_a_default_name_is_never_taken_twice_and_a_given_one_is_told(capsys):
    for options in ([], ["--interpolate"], ["--out", "samples.png"], ["--out", "s.jpg"], ["--out", "s.webp"]):
        main(["sample", "vae_digits", *options])
    assert {path.name for path in Path().iterdir()} == {"samples.png", "samples.2.png", "s.jpg", "s.webp"}
    assert [Image.open(name).format for name in ("samples.2.png", "s.jpg", "s.webp")] == ["PNG", "JPEG", "WEBP"]
    out = capsys.readouterr().out.splitlines()
    assert ["in the place of" in line for line in out] == [False, False, True, False, False]


def test_the_list_for_programs(capsys):
    main(["list", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["models"]["vae_digits"]["config"] == "vae_digits"
    assert "gan_digits" in told["configs"]


def test_a_shipped_model_is_measured_by_its_name(capsys):
    main(["test", "--ckpt_path", "vae_digits", "--evaluate.num_samples=1000", *DATA[2:]])
    (distance,) = re.findall(r"test/fd_digits_1000\D+([\d.]+)", capsys.readouterr().out)
    assert 20 < float(distance) < 50  # an untrained one has 837
    assert [path.name for path in Path("runs").iterdir()] == ["vae_digits"]


def test_a_folder_of_the_users_that_has_the_datas_name_is_told_and_passed_over():
    Path("datamodules").mkdir()
    Path("datamodules/__init__.py").write_text("raise RuntimeError('a stranger')\n")
    command = [sys.executable, "-m", "lit_gen", *GAN, "--trainer.fast_dev_run=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"lit-gen: note: \S+datamodules\S+ has the name of this project's package", done.stderr)


def test_options_count_over_files_and_classes_wherever_they_stand():
    given = ["fit", "--data.batch_size=3", "--trainer.max_steps", "7", "--data", "DigitsDataModule", "-c", "a.yaml"]
    config, data = ["-c", "a.yaml"], ["--data", "DigitsDataModule"]
    assert put_wholes_first(given) == ["fit", *config, *data, "--data.batch_size=3", "--trainer.max_steps", "7"]
    files = ["fit", "--model=GAN", "--config=b.yaml", "--config", "c.yaml"]
    assert put_wholes_first(files) == ["fit", "--config=b.yaml", "--config", "c.yaml", "--model=GAN"]
    appended = ["fit", "--trainer.callbacks+=A", "--trainer.callbacks.x=1", "--trainer.callbacks+=B"]
    assert put_wholes_first(appended) == appended  # whose order says what belongs to what
    assert put_wholes_first(["--help"]) == ["--help"]
    assert put_wholes_first(["fit", "--config"]) == ["fit", "--config"]


def test_a_data_option_before_the_config_is_taken(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--data.batch_size", "9", "--config", "gan_digits", "--print_config"])
    assert stop.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["batch_size"] == 9


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["convert", "digits", "x.parquet"], "pyarrow.parquet", "parquet"),
        (["check", "there.parquet"], "pyarrow.parquet", "parquet"),
        (["check", "there.lmdb"], "lmdb", "lmdb"),
        (["check", "there.h5"], "h5py", "hdf5"),
        (["export", "gan_digits", "--format", "onnx", "--out", "x.onnx"], "onnxscript", "onnx"),
    ],
)
def test_a_package_that_an_option_needs_is_told_in_a_line(arguments, module, extra, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("there.parquet", "there.lmdb", "there.h5"):
        Path(name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)  # as if it weren't installed
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert re.fullmatch(rf"lit-gen: error: .*{module.partition('.')[0]}.*pip install 'lit-gen\[{extra}\]'\n", told), (
        told
    )


def test_an_import_that_fails_by_mistake_is_no_error_of_the_user():
    with pytest.raises(ModuleNotFoundError) as told:
        importlib.import_module("lit_gen.nothing_of_this_name")
    assert users_error(told.value) is None
