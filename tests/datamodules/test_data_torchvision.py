"""The sets that torchvision reads, from tiny files of their real formats."""

import bz2
import json
import pickle

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image

from datamodules import CIFAR10DataModule, FashionMNISTDataModule, MNISTDataModule, TorchvisionDataModule
from datamodules.formats.vision_table import SETS
from lit_gen.metrics.choosing import training_command

rng = np.random.default_rng(0)


def write_idx(path, array, kind=8):
    """8: unsigned bytes, 12: whole numbers of four bytes, as QMNIST's labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.array([kind * 256 + array.ndim, *array.shape], dtype=">i4")
    path.write_bytes(header.tobytes() + array.astype({8: np.uint8, 12: ">i4"}[kind]).tobytes())


def pixels(*shape):
    return rng.integers(256, size=shape, dtype=np.uint8)


@pytest.fixture
def unchecked(monkeypatch):
    """Real sums of files can't be met by files of random images."""
    for module in ("svhn", "stl10", "cifar", "celeba", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: True)


def split(data, name):
    dataset = data.dataset(name)
    images, labels = dataset.__getitems__(list(range(len(dataset))))
    return images.numpy(), labels.tolist()


def make(name, root, **more):
    return TorchvisionDataModule(name, root, download=False, **more)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_and_its_relatives_are_as_their_data_modules_have_them(tmp_path, name):
    raw = tmp_path / name / "raw"
    images, labels = pixels(30, 28, 28), np.arange(30) % 10
    for prefix, part in (("train", slice(20)), ("t10k", slice(20, 30))):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images[part])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels[part])
    data = make(name.lower(), tmp_path)
    assert [len(data.dataset(part)) for part in ("train", "val", "test")] == [18, 2, 10]
    assert np.array_equal(split(data, "val")[0], images[18:20, None])
    assert split(data, "test")[1] == labels[20:].tolist()
    assert (data.num_classes, data.image_shape) == (10, (1, 28, 28))
    other = {"MNIST": MNISTDataModule, "FashionMNIST": FashionMNISTDataModule}.get(name)
    if other is not None:
        own = other(str(tmp_path), False, val_size=2)
        assert (data.name, data.class_names) == (own.name, own.class_names)
        assert all(torch.equal(data.dataset(part).images, own.dataset(part).images) for part in ("train", "val"))
    else:
        assert data.class_names[:3] == ("o", "ki", "su")


def test_emnist_is_turned_upright_and_its_letters_begin_at_a(tmp_path):
    raw, images = tmp_path / "EMNIST" / "raw", pixels(26, 28, 28)
    for part in ("train", "test"):
        write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", images)
        write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", np.arange(26) + 1)
    data = make("EMNIST", tmp_path, variant="letters", val_size=0)
    assert data.class_names == tuple("abcdefghijklmnopqrstuvwxyz")
    found, labels = split(data, "train")
    assert np.array_equal(found[:, 0], images.transpose(0, 2, 1))
    assert labels == list(range(26))
    assert data.name == "emnist_letters"
    for variant in SETS["EMNIST"].variants:
        names = torchvision.datasets.EMNIST.classes_split_dict[variant]
        assert list(make("EMNIST", tmp_path, variant=variant).class_names) == [n for n in names if n != "N/A"]


def test_qmnist(tmp_path):
    images, labels = pixels(12, 28, 28), np.arange(96).reshape(12, 8) % 10
    for part in ("train", "test"):
        write_idx(tmp_path / "QMNIST" / "raw" / f"qmnist-{part}-images-idx3-ubyte", images)
        write_idx(tmp_path / "QMNIST" / "raw" / f"qmnist-{part}-labels-idx2-int", labels, 12)
    found, numbers = split(make("QMNIST", tmp_path), "test")
    assert np.array_equal(found[:, 0], images)
    assert numbers == labels[:, 0].tolist()


def test_svhn(tmp_path, unchecked):
    images, labels = {}, np.arange(20) % 10 + 1
    for part in ("train", "test", "extra"):
        images[part] = pixels(20, 32, 32, 3)
        arrays = {"X": images[part].transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)}
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", arrays)
    for variant, first in ((None, "train"), ("extra", "extra")):
        data = make("svhn", tmp_path, variant=variant, val_size=4)
        found, digits = split(data, "train")
        assert np.array_equal(found, images[first][:16].transpose(0, 3, 1, 2))
        assert digits == (labels[:16] % 10).tolist()
        assert np.array_equal(split(data, "test")[0], images["test"].transpose(0, 3, 1, 2))
    assert data.dataset("train").images.is_contiguous()


def test_cifar100_has_the_names_of_its_files(tmp_path, unchecked):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part, size in (("train", 30), ("test", 5)):
        content = {"data": pixels(size, 3072), "fine_labels": (np.arange(size) * 3).tolist()}
        (folder / part).write_bytes(pickle.dumps(content))
        if part == "train":
            expected = content["data"].reshape(-1, 3, 32, 32)
    names = [f"kind {i}" for i in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    data = make("CIFAR100", tmp_path, val_size=0)
    assert data.num_classes == 100
    assert np.array_equal(split(data, "train")[0], expected)
    assert data.class_names == tuple(names)
    assert CIFAR10DataModule.num_classes == make("CIFAR10", tmp_path).num_classes


def test_stl10_with_and_without_labels(tmp_path, unchecked):
    folder, images = tmp_path / "stl10_binary", pixels(12, 3, 96, 96)
    folder.mkdir()
    for part in ("train", "test", "unlabeled"):
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes((np.arange(12, dtype=np.uint8) % 10 + 1).tobytes())
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = make("STL10", tmp_path, val_size=2)
    assert np.array_equal(split(data, "train")[0], images[:10])
    assert (split(data, "train")[1], data.class_names) == (list(range(10)), tuple("abcdefghij"))
    data = make("STL10", tmp_path, variant="train+unlabeled", val_size=4)
    assert (len(data.dataset("train")), data.num_classes, set(split(data, "test")[1])) == (20, 0, {0})


def test_usps(tmp_path):
    rows = rng.uniform(-1, 1, size=(12, 256))
    lines = [f"{i % 10 + 1} " + " ".join(f"{j + 1}:{x:.6f}" for j, x in enumerate(row)) for i, row in enumerate(rows)]
    for name in ("usps.bz2", "usps.t.bz2"):
        (tmp_path / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    found, labels = split(make("USPS", tmp_path), "test")
    assert np.abs(found.reshape(12, 256) - (rows + 1) / 2 * 255).max() < 1
    assert labels == [i % 10 for i in range(12)]


def picture(path, value, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def test_pictures_of_any_sizes_are_cut_off_by_a_fixed_draw_of_those_in_order(tmp_path):
    for kind, value in (("apple_pie", 10), ("ramen", 200)):
        for i in range(20):
            picture(tmp_path / "food-101" / "images" / kind / f"{i}.jpg", value + i, (30 + i, 40))
    for part, numbers in (("train", range(15)), ("test", range(15, 20))):
        listed = {kind: [f"{kind}/{i}" for i in numbers] for kind in ("apple_pie", "ramen")}
        path = tmp_path / "food-101" / "meta" / f"{part}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(listed))
    data = make("Food101", tmp_path, image_size=(6, 8), channels=1, val_size=10, num_workers=2, batch_size=4)
    assert (data.image_shape, data.num_classes) == ((1, 6, 8), 101)
    assert [len(data.dataset(part)) for part in ("train", "val", "test")] == [20, 10, 10]
    assert set(split(data, "val")[1]) == {0, 1}
    for part in ("train", "val", "test"):
        images, labels = split(data, part)
        assert ((images[:, 0, 3, 4] > 100) == np.array(labels, dtype=bool)).all()
    batch, labels = next(iter(data.train_dataloader()))
    assert ((batch[:, 0, 3, 4] > 100) == labels.bool()).all()
    assert data.found(None).sizes[(40, 30)] == 2
    assert "1 x 6 x 8 from 40 x 30 to 40 x 49 RGB" in data.summary(None).line()
    (tmp_path / "food-101" / "images" / "ramen" / "15.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"Food101, test image 5: not a readable image"):
        split(data, "test")


def test_official_validation_pairs_of_path_and_label_and_no_test(tmp_path, unchecked):
    for i in range(9):
        picture(tmp_path / "flowers-102" / "jpg" / f"image_{i + 1:05d}.jpg", 20 * i, (9, 9))
        picture(tmp_path / "gtsrb" / "GTSRB" / "Training" / f"{i % 3:05d}" / f"{i}.ppm", 20 * i, (9, 9))
        picture(tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / f"{i}.ppm", 20 * i, (9, 9))
        for kind in ("cat", "dog"):
            picture(tmp_path / "eurosat" / "2750" / kind / f"{i}.jpg", 20 * i, (9, 9))
    scipy.io.savemat(tmp_path / "flowers-102" / "imagelabels.mat", {"labels": np.arange(9) % 3 + 1})
    parts = {"trnid": [[1, 2, 3, 4]], "valid": [[5, 6]], "tstid": [[7, 8, 9]]}
    scipy.io.savemat(tmp_path / "flowers-102" / "setid.mat", parts)
    lines = ["Filename;ClassId", *(f"{i}.ppm;{i}" for i in range(9))]
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("\n".join(lines))
    flowers, signs, land = (make(name, tmp_path, image_size=4) for name in ("Flowers102", "GTSRB", "EuroSAT"))
    assert [split(flowers, part)[1] for part in ("train", "val", "test")] == [[0, 1, 2, 0], [1, 2], [0, 1, 2]]
    assert split(signs, "test")[1] == list(range(9))
    assert signs.num_classes == 43
    assert [len(land.dataset(part)) for part in ("train", "val", "test")] == [16, 1, 1]
    with pytest.raises(ValueError, match="val_size=3: Flowers102 has official images for validation"):
        make("Flowers102", tmp_path, val_size=3)


def test_celeba_has_classes_by_its_attributes_alone(tmp_path, unchecked):
    folder, names = tmp_path / "celeba", [f"{i + 1:06d}.jpg" for i in range(6)]
    for i, name in enumerate(names):
        picture(folder / "img_align_celeba" / name, 40 * i, (9, 11))
    attributes = [f"{name} {1 if i % 2 else -1}  {-1 if i < 3 else 1}" for i, name in enumerate(names)]
    texts = {
        "list_attr_celeba.txt": ["6", "Male Smiling", *attributes],
        "list_eval_partition.txt": [f"{name} {i // 2}" for i, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} {i}" for i, name in enumerate(names)],
        "list_bbox_celeba.txt": ["6", "image_id x", *(f"{name} 1" for name in names)],
        "list_landmarks_align_celeba.txt": ["6", "x", *(f"{name} 1" for name in names)],
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines))
    data = make("CelebA", tmp_path, image_size=4, attributes=["Smiling", "Male"])
    assert data.class_names[3] == "Smiling and Male"
    assert [split(data, part)[1] for part in ("train", "val", "test")] == [[0, 1], [0, 3], [2, 3]]
    assert make("CelebA", tmp_path).num_classes == 0
    with pytest.raises(ValueError, match=r"attributes=\['Smile'\].*CelebA has no 'Smile'; there are Male, Smiling"):
        make("CelebA", tmp_path, attributes="Smile").dataset("train")


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_torchvisions_takes_these_arguments_and_says_what_is_missing(tmp_path, name):
    for variant in SETS[name].variants:
        data = make(name, tmp_path, variant=variant or None)
        assert (len(data.image_shape), data.num_classes >= 0) == (3, True)
        with pytest.raises(FileNotFoundError, match=rf"root='.*': {name}'s files are not there") as error:
            data.dataset("train")
        assert "\n" not in str(error.value)
        assert "argument" not in str(error.value.__cause__)


def test_wrong_names_and_options_are_named(tmp_path):
    for name, message in (
        ("CocoDetection", "torchvision's set of that name is not read"),
        ("Flickr8k", "torchvision's set of that name is not read"),
        ("LSUN", "unpickles a file of the working folder"),
        ("SVNH", "unknown; accepted are MNIST, FashionMNIST"),
    ):
        with pytest.raises(ValueError, match=rf"name='{name}': .*{message}") as error:
            TorchvisionDataModule(name)
        assert "\n" not in str(error.value)
    for options, message in (
        ({"name": "EMNIST", "variant": "greek"}, "variant='greek': EMNIST has balanced, byclass, bymerge, letters"),
        ({"name": "MNIST", "variant": "x"}, "variant='x': MNIST has none"),
        ({"name": "SVHN", "image_size": 64}, "image_size=64, .*: the images of SVHN are all 3 x 32 x 32"),
        ({"name": "SVHN", "attributes": "x"}, r"attributes=\['x'\]: CelebA has attributes, SVHN has none"),
        ({"name": "DTD", "image_size": 0}, "image_size=0"),
        ({"name": "DTD", "channels": 2}, "channels=2"),
        ({"name": "DTD", "val_size": -1}, "val_size=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            TorchvisionDataModule(**options)


def test_the_command_for_an_extractor_names_the_set(tmp_path):
    assert f"`lit-gen extractor SVHN --root {tmp_path} --out own_svhn" in training_command(make("SVHN", tmp_path))
    assert f"`lit-gen extractor DTD --root {tmp_path} --size 32 " in training_command(
        make("DTD", tmp_path, image_size=32)
    )
    assert "in Python" in training_command(make("SVHN", tmp_path, variant="extra"))
