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


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("notes.txt", "--data notes.txt: no file or folder of images that a data module reads"),
        ("phots", "data: no class phots; .* or give a path of images or an import path"),
    ],
)
def test_what_is_no_data_is_told_in_one_line(word, told, here, capsys):
    (here / "notes.txt").write_text("no images")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--model", "VAE", "--data", word])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(told, lines[0])
