"""The comparison on few images: the data it writes, the commands it runs, the lines it prints."""

import argparse
import csv

import numpy as np
import pytest

from datamodules import DigitsDataModule


@pytest.fixture(scope="module")
def few_images(load_script):
    return load_script("experiments/few_images.py")


def test_held_out_images_are_all_but_the_few(few_images, tmp_path):
    data = DigitsDataModule()
    assert few_images.write(data, 200, tmp_path / "few.npz") == 1797 - 200
    with np.load(tmp_path / "few.npz") as written:
        few, rest = written["train_images"], written["val_images"]
        assert (written["train_labels"].shape, written["val_labels"].shape) == ((200,), (1597,))
    every = np.concatenate([data.dataset(split).images.numpy() for split in ("train", "val", "test")])
    found = np.concatenate([few, rest])
    order = [np.lexsort(images.reshape(len(images), -1).T) for images in (every, found)]
    assert np.array_equal(every[order[0]], found[order[1]])  # each once


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("none", set()),
        ("DiffAugment", {"--model.augmentation=DiffAugment", "--model.augmentation.policy=translation,cutout"}),
        ("ADA", {"--model.augmentation=ADA", "--model.augmentation.categories=geom"}),
        ("frozen", {"--model.init_from=trained", "--model.discriminator_freeze=2"}),
    ],
)
def test_rows_differ_by_the_help_alone(few_images, monkeypatch, tmp_path, row, expected):
    commands = []
    monkeypatch.setattr(few_images.subprocess, "run", lambda command, check: commands.append(command))
    arguments = argparse.Namespace(config="gan_digits", images=200, init_from="trained")
    for each in ("none", row):
        few_images.train(each, 3, tmp_path / "run", DigitsDataModule(), arguments, ["--trainer.max_steps=5"])
    plain, helped = map(set, commands)
    assert {
        "--config=gan_digits",
        "--seed_everything=3",
        "--evaluate.num_samples=1597",
        "--trainer.max_steps=5",
    } <= plain
    assert plain <= helped
    assert expected <= helped - plain
    assert bool(expected) == (helped != plain)


def test_a_source_is_asked_for(few_images):
    with pytest.raises(SystemExit, match="--rows frozen needs --init_from"):
        few_images.options("frozen", True, None)


def test_a_line_has_the_curve_its_best_and_its_last(few_images, tmp_path):
    (tmp_path / "run" / "1").mkdir(parents=True)
    names = ["step", "val/fd_digits_1597", "game/overfitting", "game/copy_ratio", "train/augmentation_p"]
    rows = [[49, "", "", "", 0.1], [499, 20.25, 0.5, 1.0, ""], [999, 12.5, 0.75, 0.9, 0.25], [1499, 15, 0.875, 0.8, ""]]
    with (tmp_path / "run" / "1" / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    line = few_images.line("ADA", 200, few_images.read(tmp_path / "run"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["ADA", "200", "500 to 1,500", "20.2, 12.5, 15", "12.5 (1,000)", "15", "0.88", "0.80", "0.25"]
    assert len(cells) == len(few_images.COLUMNS)
