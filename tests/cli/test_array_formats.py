"""Commands that take data read HDF5, .mat and .pt files, attributes, and torchvision's sets by name."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from datamodules import TorchvisionDataModule
from lit_gen.cli.app import main
from lit_gen.cli.commands import check
from lit_gen.cli.commands.named_data import divided_data, named_data

IMAGES = np.random.default_rng(0).integers(256, size=(40, 8, 8), dtype=np.uint8)
LABELS = np.arange(40) % 2


@pytest.fixture
def files(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'lit-gen[hdf5]'")
    monkeypatch.chdir(tmp_path)
    with h5py.File("x.h5", "w") as file:
        file["images"], file["labels"] = IMAGES, LABELS
    with h5py.File("floats.hdf5", "w") as file:
        file["images"], file["labels"] = IMAGES[..., None] / np.float32(255), LABELS
    with h5py.File("many.h5", "w") as file:
        file["images"], file["labels"] = IMAGES, np.stack([LABELS, 1 - LABELS, np.ones(40, int)], 1)
        file["attribute_names"] = ["hat", "tie", "dog"]
    scipy.io.savemat("x.mat", {"images": IMAGES.transpose(1, 2, 0), "labels": LABELS})
    torch.save((torch.from_numpy(IMAGES), torch.from_numpy(LABELS)), "x.pt")
    np.savez("x.npz", images=IMAGES, labels=LABELS)


@pytest.mark.parametrize("name", ["x.h5", "x.mat", "x.pt", "floats.hdf5"])
def test_evaluate_sees_the_images_of_an_npz(files, name):
    values = ["--values", "unit"] if name == "floats.hdf5" else []
    main(["evaluate", name, "x.npz", "--extractor", "pixels", "--scores", "fd", "--json", "scores.json", *values])
    scores = json.loads(Path("scores.json").read_text())["scores"]
    assert scores["fd_pixels_40"] == pytest.approx(0, abs=1e-6)


def test_check_reads_attributes_and_all_images(files, capsys):
    main(["check", "many.h5", "--attributes", "hat", "dog"])
    told = capsys.readouterr().out
    assert "40 images" in told
    assert "4 classes (not hat and not dog 0, not hat and dog 20, hat and not dog 0, hat and dog 20 for" in told
    with pytest.raises(ValueError, match=r"makes some of them classes: hat, tie, dog$"):
        check.run(["many.h5"])


def test_encode_reads_rows(files):
    for name in ("x.h5", "x.npz"):
        main(["encode", "vae_digits", name, "--out", f"{name}.z.npz"])
    assert np.array_equal(np.load("x.h5.z.npz")["latents"], np.load("x.npz.z.npz")["latents"])


def test_sets_of_torchvision_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(TorchvisionDataModule, "prepare_data", lambda self: None)
    options = argparse.Namespace(data="food101", root=str(tmp_path), size=32, channels=None)
    data = named_data(options)
    assert (type(data), data.torchvision_class, data.image_shape) == (TorchvisionDataModule, "Food101", (3, 32, 32))
    with pytest.raises(ValueError, match="TorchvisionDataModule: say which set, by its name: MNIST, Fashion"):
        named_data(argparse.Namespace(data="TorchvisionDataModule", root=None))
    with pytest.raises(FileNotFoundError, match=r"Foo: no such file or folder, and neither .* a set of torchvision"):
        named_data(argparse.Namespace(data="Foo", root=None))


def test_a_folder_of_latents_is_of_all_splits_of_a_file(files):
    data = divided_data(argparse.Namespace(data="x.h5", alpha="white", white=None, trust=[]), (1, 8, 8))
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [32, 4, 4]
