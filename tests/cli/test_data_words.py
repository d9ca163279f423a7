"""`--data` by a path, an address or a short name: the class that reads it, in its place."""

import re

import numpy as np
import pytest
from PIL import Image

from lit_gen.cli.app import main
from lit_gen.cli.data_words import resolve_data


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_photos(folder):
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(folder / f"{i}.png")


@pytest.mark.parametrize("equals", [False, True], ids=["--data x", "--data=x"])
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("photos", ["ImageFolderDataModule", "--data.root=photos"]),
        ("images.npz", ["ArrayDataModule", "--data.path=images.npz"]),
        ("shards", ["StreamingDataModule", "--data.root=shards"]),
        ("https://host.example/shards", ["StreamingDataModule", "--data.root=https://host.example/shards"]),
        ("digits", ["DigitsDataModule"]),
        ("svhn", ["TorchvisionDataModule", "--data.name=SVHN"]),
        ("MNISTDataModule", ["MNISTDataModule"]),  # though there is such a folder
        ("own.yaml", ["own.yaml"]),
        ('{"class_path": "DigitsDataModule"}', ['{"class_path": "DigitsDataModule"}']),
        ("package.OwnData", ["package.OwnData"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_word_stands_for_its_class(word, expected, equals, here):
    for folder in ("photos", "shards", "MNISTDataModule"):
        (here / folder).mkdir()
    (here / "shards" / "0.tar").touch()
    for file in ("images.npz", "own.yaml"):
        (here / file).touch()
    given = [f"--data={word}"] if equals else ["--data", word]
    resolved = resolve_data(["fit", "--data.batch_size", "3", *given, "--model", "GAN"])
    assert resolved == ["fit", "--data.batch_size", "3", "--data", *expected, "--model", "GAN"]


def test_an_option_without_a_word_is_left_to_the_parser():
    assert resolve_data(["fit", "--data"]) == ["fit", "--data"]


def test_a_folder_is_trained_on_by_its_path_alone(here, capsys):
    write_photos(here / "photos")
    options = ["--data.image_size=8", "--data.batch_size=4", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
    main(["fit", "--model", "VAE", "--data", "photos", *options])
    assert "photos: 12 images" in "".join(capsys.readouterr())


def test_its_own_options_and_a_checkpoint_go_with_it(here, capsys):
    np.savez(here / "images.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2)
    command = [
        "fit",
        "--data.val_share=0.2",
        "--data.batch_size=4",
        "--data",
        "images.npz",
        "--trainer.accelerator",
        "cpu",
    ]
    main([*command, "--model", "VAE", "--trainer.max_steps", "1", "--experiment", "first"])
    assert "train 14, val 4, test 2" in "".join(capsys.readouterr())
    main([*command, "--ckpt_path", "last", "--trainer.max_steps", "2", "--experiment", "first"])
    assert "continuing from" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["null", "a.yaml", "brace{x}"])
def test_any_folder_is_found(name, here):
    (here / name).mkdir()
    (data, place) = resolve_data(["--data", name])[1:]
    assert data == "ImageFolderDataModule"
    assert place == f"--data.root={'./' if name == 'null' else ''}{name}"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--data", "notes.txt"], "--data notes.txt: no file or folder of images that a data module reads"),
        (["--data", "phots"], "--data phots: no such file or folder; accepted are paths of images"),
        (["--data", "phots.npz"], "--data phots.npz: no such file or folder"),
        (["--data", "phots.yaml"], "--data phots.yaml: no such file or folder"),
        (["--data="], "--data : no such file or folder"),
        (["--data", "x" * 300], "--data x+: no such file or folder"),
        (["--data", "Digits"], "data: no class Digits; .*DigitsDataModule"),
        (["--data", "photos", "--data", "images.npz"], "--data photos and --data images.npz: give one of them"),
        (["--data", "photos", "--data", "DigitsDataModule"], "--data photos and --data DigitsDataModule: give one"),
        (["--data.root=x", "--data", "photos"], "--data photos: it says what --data.root says; give one of them"),
    ],
)
def test_a_mistake_is_told_in_one_line(options, told, here, capsys):
    (here / "notes.txt").write_text("no images")
    (here / "images.npz").touch()
    write_photos(here / "photos")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--model", "VAE", *options])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(told, lines[0])


def test_the_last_run_is_that_of_the_model_and_the_data(here, capsys):
    write_photos(here / "photos")
    command = ["fit", "--model", "VAE", "--data", "photos", "--data.image_size=8", "--data.batch_size=4"]
    main([*command, "--trainer.max_steps=1", "--trainer.accelerator=cpu"])
    capsys.readouterr()
    main([*command, "--trainer.max_steps=2", "--trainer.accelerator=cpu", "--ckpt_path", "last"])
    assert "continuing from runs/vae-imagefolder/" in "".join(capsys.readouterr())
