"""Malformed configs, arrays and pictures at the command line: success or one clear line, and no partial artefact."""

import copy
import io
import os
import shutil
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lit_gen.cli.app import main
from lit_gen.files import check_archive

BASE = {
    "model": {
        "class_path": "GAN",
        "init_args": {
            "latent_dim": 2,
            "generator": {"class_path": "MLPGenerator", "init_args": {"width": 4, "depth": 1, "norm": "none"}},
            "discriminator": {"class_path": "MLPDiscriminator", "init_args": {"width": 4, "depth": 1}},
            "loss": {"class_path": "Hinge"},
            "penalty": {"class_path": "R1", "init_args": {"weight": 0.1}},
            "generator_optimizer": {"class_path": "GANAdam", "init_args": {"lr": 0.001}},
            "n_critic": 1,
            "ema_half_life": 100,
        },
    },
    "data": {"class_path": "DigitsDataModule", "init_args": {"batch_size": 4, "flip": False, "seed": 1}},
    "trainer": {"val_check_interval": 1, "precision": "32-true", "limit_val_batches": 1, "log_every_n_steps": 1,
                "gradient_clip_val": None, "accumulate_grad_batches": 1, "callbacks": None},
    "checkpoint": {"every_n_steps": 1, "monitor": None, "mode": "min"},
    "samples": {"num_samples": 4},
    "evaluate": {"num_samples": 10},
    "seed_everything": 0,
    "experiment": "fuzz",
}  # fmt: skip
# Whatever a config says: one short run in one process.
SHORT = ["--trainer.max_steps=1", "--trainer.max_epochs=1", "--trainer.devices=1", "--trainer.num_nodes=1"]
SHORT += ["--trainer.strategy=auto", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SHORT += ["--trainer.default_root_dir=runs", "--data.num_workers=0"]


def paths(value, prefix=()):
    yield prefix
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*prefix, key))


PLACES = [path for path in paths(BASE) if path]
JUNK = st.one_of(
    st.sampled_from([-1, 0, 1, 7, -0.5, 0.5, 1e308, float("nan"), float("inf"), True, False, None]),
    st.sampled_from(["", "x", "null", "GAN", "VAE", "os.system", "lit_gen", "1e999", "../..", "{", "\x7f", "ü", "-1"]),
    st.text(max_size=8),
    st.sampled_from([[], {}, [1], [[]], {"a": 1}, {"class_path": None}, {"class_path": "R1", "init_args": 3}]),
    st.sampled_from([{"init_args": {}}, {"class_path": "Hinge", "init_args": {"x": 1}}, {"class_path": []}]),
)


@st.composite
def configs(draw):
    """A config with up to three places changed, taken away or added; or any text at all."""
    if draw(st.integers(0, 9)) == 0:
        odd = st.sampled_from(["a: [", "- 1\n- 2", "%", "a: &x [*x]", "3", "null", "model: 3", "trainer: []"])
        return draw(st.one_of(st.text(max_size=60), odd))
    config = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(PLACES))
        place = config
        for key in parents:
            place = place.get(key) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            continue
        change = draw(st.sampled_from(["value", "value", "value", "away", "added"]))
        if change == "value":
            place[last] = draw(JUNK)
        elif change == "away":
            place.pop(last, None)
        else:
            place[draw(st.text(min_size=1, max_size=6))] = draw(JUNK)
    return yaml.safe_dump(config, allow_unicode=True)


def png(size=(9, 8), mode="RGB", kind="PNG"):
    buffer = io.BytesIO()
    Image.new(mode, size, 1 if mode in ("L", "1", "I;16") else None).save(buffer, kind)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 8, 12]), max_size=5)
DTYPES = st.sampled_from(["uint8", "float32", "float64", "int64", "bool", "U3", "complex64", "float16"])
KEYS = st.sampled_from(["images", "labels", "x_train", "y_train", "train", "x_test", "mu", "sigma", "", "a/b", "../c"])
ARRAYS = st.dictionaries(KEYS, st.builds(lambda shape, dtype: np.zeros(shape, dtype), SHAPES, DTYPES), max_size=3)
GOOD_ARRAYS = npz(images=np.arange(20 * 64, dtype=np.uint8).reshape(20, 8, 8), labels=np.arange(20) % 3)
PICTURES = [png(), png(mode="L"), png(mode="I;16"), png((1, 1)), png((8, 8), "RGB", "JPEG"), png((5, 70), "RGBA")]
PICTURES += [png((8, 8), "RGB", kind) for kind in ("WEBP", "BMP", "TIFF", "GIF", "PPM")]


@st.composite
def damaged(draw, content):
    """Bytes with some changed, cut off or put in."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        change = draw(st.sampled_from(["change", "change", "cut", "insert"]))
        if change == "cut":
            del content[place:]
        elif change == "insert":
            content[place:place] = draw(st.binary(max_size=8))
        elif content:
            content[place] = draw(st.integers(0, 255))
    return bytes(content)


ARRAY_FILES = st.one_of(damaged(GOOD_ARRAYS), st.builds(lambda arrays: npz(**arrays), ARRAYS), st.binary(max_size=40))
PICTURE_FILES = st.one_of(st.sampled_from(PICTURES).flatmap(damaged), st.binary(max_size=40))
SMALL_GAN = ["--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
             "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--evaluate.num_samples=10",
             "--samples.num_samples=4", "--data.batch_size=4", *SHORT]  # fmt: skip
ARRAY_COMMANDS = [
    ["evaluate", "file.npz", "file.npz", "--extractor=identity", "--cache=off", "--json=out.json"],
    ["evaluate", "good.npz", "file.npz", "--extractor=identity", "--cache=off", "--statistics=out.npz"],
    ["encode", "vae_digits", "file.npz", "--split=train", "--out=out.npz"],
    ["fit", "--data=ArrayDataModule", "--data.path=file.npz", *SMALL_GAN],
]
PICTURE_COMMANDS = [
    ["evaluate", "pictures", "good", "--extractor=identity", "--cache=off", "--json=out.json"],
    ["evaluate", "good", "pictures", "--extractor=identity", "--size=8", "--cache=off", "--json=out.json"],
    ["encode", "vae_digits", "pictures", "--size=8", "--out=out.npz"],
    ["fit", "--data=ImageFolderDataModule", "--data.root=pictures", "--data.image_size=8", *SMALL_GAN],
]


def files():
    return sorted(str(path) for path in Path().rglob("*"))


def run(arguments, capsys):
    """Success, or one line of error and nothing left behind."""
    before = files()
    capsys.readouterr()
    status = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            main(arguments)
    except SystemExit as stop:
        status = stop.code or 0
    err = capsys.readouterr().err
    assert "Traceback" not in err
    if status:
        assert status == 2, err
        assert err.count("error:") == 1, err
        # That no score has that name shows at the first validation: what the training has left by then is whole.
        assert files() == before or ("checkpoint.monitor=" in err and run_is_whole())
    for name in ("out.json", "out.npz"):
        Path(name).unlink(missing_ok=True)
    shutil.rmtree("runs", ignore_errors=True)
    return status


def run_is_whole():
    checkpoints = list(Path("runs").glob("*/*/checkpoints/*.ckpt"))
    for path in checkpoints:
        check_archive(path)
    return bool(checkpoints) and not list(Path("runs").rglob("*.tmp"))


def in_a_new_folder(check):
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            check()
        finally:
            os.chdir(here)


def config_is_survived(text, capsys):
    def check():
        Path("config.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        run(["fit", "--config", "config.yaml", *SHORT], capsys)

    in_a_new_folder(check)


def arrays_are_survived(content, command, capsys):
    def check():
        Path("good.npz").write_bytes(GOOD_ARRAYS)
        Path("file.npz").write_bytes(content)
        run(command, capsys)

    in_a_new_folder(check)


def picture_is_survived(content, command, capsys):
    def check():
        for folder in ("good", "pictures"):
            Path(folder).mkdir()
            for i in range(8):
                Path(f"{folder}/{i}.png").write_bytes(png((8, 8)))
        Path("pictures/0.png").write_bytes(content)
        run(command, capsys)

    in_a_new_folder(check)


def fuzzed(examples):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=checks, database=None)


@fuzzed(20)
@given(configs())
def test_a_few_malformed_configs(capsys, text):
    config_is_survived(text, capsys)


@fuzzed(40)
@given(ARRAY_FILES, st.sampled_from(ARRAY_COMMANDS[:3]))
def test_a_few_malformed_arrays(capsys, content, command):
    arrays_are_survived(content, command, capsys)


@fuzzed(40)
@example(content=b"P6\n8 8\n25u\n", command=PICTURE_COMMANDS[0])
@given(content=PICTURE_FILES, command=st.sampled_from(PICTURE_COMMANDS[:3]))
def test_a_few_malformed_pictures(capsys, content, command):
    picture_is_survived(content, command, capsys)


@pytest.mark.slow
def test_a_thousand_malformed_files(capsys):
    """All of them, so that one run names every failure."""
    failures = []

    def tried(check):
        def attempt(**example):
            try:
                check(capsys=capsys, **example)
            except Exception as error:
                failures.append(f"{example}\n{''.join(traceback.format_exception(error)[-3:])}")

        return attempt

    fuzzed(300)(given(text=configs())(tried(config_is_survived)))()
    for check, content, commands in (
        (arrays_are_survived, ARRAY_FILES, ARRAY_COMMANDS),
        (picture_is_survived, PICTURE_FILES, PICTURE_COMMANDS),
    ):
        fuzzed(350)(given(content=content, command=st.sampled_from(commands))(tried(check)))()
    assert not failures, f"{len(failures)} failures\n" + "\n\n".join(failures)
