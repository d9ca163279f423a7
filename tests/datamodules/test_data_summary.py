"""What a data module says it found, and what a check of everything finds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import datamodules
from datamodules import ArrayDataModule, DigitsDataModule, ImageFolderDataModule, UnpairedDataModule
from datamodules.checking import check

rng = np.random.default_rng(0)


def picture(path, shape=(6, 5, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(path)


def test_one_line_says_what_there_is(tmp_path):
    root = tmp_path / "pets"
    for split, count in (("train", 12), ("val", 3)):
        for kind in ("cat", "dog"):
            for i in range(count):
                picture(root / split / kind / f"{i}.png", (6 + i % 2, 5, 3))
    (root / "train" / "cat" / "x.heic").write_text("")
    (root / "train" / ".hidden.png").write_text("")
    summary = ImageFolderDataModule(root, 4, test_share=0.25).summary()
    low, high, white = summary.found.values
    cats, dogs = summary.classes["cat"], summary.classes["dog"]
    assert summary.line() == (
        "pets: 30 images (train 18, val 6, test 6), 3 x 4 x 4 from 6 x 5 to 7 x 5 RGB; "
        f"values {low:g} to {high:g} of 255; 2 classes (cat {cats}, dog {dogs} for training); "
        "left out 1 .heic, 1 hidden"
    )
    assert 0 <= low < 10 < 245 < high <= white == 255
    assert sum(summary.classes.values()) == 18
    told = json.loads(json.dumps(summary.as_dict()))
    assert told["images"] == {"train": 18, "val": 6, "test": 6}
    assert told["left_out"] == {".heic": 1, "hidden": 1}
    assert told["sizes"] == {"6x5": 16, "7x5": 14}


@pytest.mark.parametrize("look", [1, 4, 1000])
def test_few_files_of_a_large_folder_are_opened(tmp_path, monkeypatch, look):
    for i in range(40):
        picture(tmp_path / f"{i}.png")
    opened, usual = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file, **kwargs: opened.append(file) or usual(file, **kwargs))
    summary = ImageFolderDataModule(tmp_path, 4).summary(look)
    assert len(set(opened)) == summary.found.looked <= max(look + 2, 3)  # of each split at least one


@pytest.mark.parametrize(
    "name", ["DigitsDataModule", "MixtureDataModule", "RecolouredDigitsDataModule", "UnpairedDataModule"]
)
def test_every_module_has_a_summary_and_names_of_classes(name):
    options = {"a": DigitsDataModule(), "classes_a": [1], "classes_b": [2]} if name == "UnpairedDataModule" else {}
    data = getattr(datamodules, name)(**options)
    summary = data.summary()
    assert summary.line().startswith(f"{data.name}: ")
    assert summary.warnings == ()
    assert len(data.class_names) == len(set(data.class_names)) == data.num_classes
    if name == "DigitsDataModule":
        assert sum(summary.classes.values()) == summary.images["train"] == 1197
    json.dumps(summary.as_dict())


def test_two_domains_say_what_each_leaves_out(tmp_path):
    for domain in "ab":
        for i in range(20):
            picture(tmp_path / domain / f"{i}.png")
    (tmp_path / "b" / "x.txt").write_text("")
    parts = {domain: ImageFolderDataModule(tmp_path / domain, 4) for domain in "ab"}
    summary = UnpairedDataModule(**parts).summary()
    assert summary.images["train a"] == summary.images["train b"] == 16
    assert summary.found.left_out == {".txt of b": 1}


def test_a_check_lists_everything_at_once(tmp_path):
    for i in range(12):
        picture(tmp_path / "many" / f"{i}.png")
    for i in range(3):
        picture(tmp_path / "few" / f"{i}.png", (3, 3))
    (tmp_path / "many" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "many" / "cut.png").write_bytes((tmp_path / "many" / "0.png").read_bytes()[:-30])
    (tmp_path / "many" / "again.png").write_bytes((tmp_path / "many" / "3.png").read_bytes())
    summary = check(ImageFolderDataModule(tmp_path, 4, val_share=0, test_share=0))
    assert [error.split(":")[0].rpartition("/")[2] for error in summary.found.errors] == ["bad.png", "cut.png"]
    told = "\n".join(summary.warnings)
    for part in (
        "only 18 training images", "fewer than 10 training images of few (3)", "3 images are smaller than 4 x 4",
        "1 pictures occur more than once, pixel for pixel",
    ):  # fmt: skip
        assert part in told
    assert "several splits" not in told


def test_a_check_of_arrays_finds_the_same_image_in_two_splits(tmp_path):
    images = rng.integers(256, size=(150, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x_train=images, x_test=images[5:7], notes=np.zeros(2))
    summary = check(ArrayDataModule(tmp_path / "x.npz", val_share=0))
    assert summary.found.left_out == {"array 'notes'": 1}
    assert summary.warnings == (
        "2 pictures are in several splits, so that scores flatter, pixel for pixel: train 5 = test 0; train 6 = test 1",
    )


@pytest.mark.parametrize("persistent", [False, True])
def test_options_of_the_loader_are_passed_on_and_flips_change_by_epoch(tmp_path, persistent):
    left = np.zeros((40, 2, 2), np.uint8)
    left[:, :, 1] = 255
    np.save(tmp_path / "x.npy", left)

    def flips(**options):
        options |= {"val_share": 0, "test_share": 0.2, "batch_size": 8, "flip": True}
        data = ArrayDataModule(tmp_path / "x.npy", **options)
        loader, found = data.train_dataloader(), []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            found.append(torch.cat([images[:, 0, 0, 0] for images, _ in loader]))
        return data, loader, torch.stack(found)

    _, _, expected = flips()
    data, loader, found = flips(num_workers=1, persistent_workers=persistent, prefetch_factor=3)
    assert torch.equal(found, expected)  # workers that stay see each epoch's flips too
    assert (loader.persistent_workers, loader.prefetch_factor) == (persistent, 3)
    assert data.test_dataloader().prefetch_factor == 3
    assert ArrayDataModule(tmp_path / "x.npy", pin_memory=True, batch_size=4).train_dataloader().pin_memory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"persistent_workers": True}, "num_workers=0: persistent_workers=True"),
        ({"prefetch_factor": 2}, "num_workers=0.*prefetch_factor=2"),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor=0: must be at least 1"),
    ],
)
def test_options_of_the_loader_that_can_not_be(options, message):
    with pytest.raises(ValueError, match=message):
        DigitsDataModule(**options)
