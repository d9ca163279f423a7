import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from datamodules import CIFAR10DataModule, DigitsDataModule, FashionMNISTDataModule, MixtureDataModule, MNISTDataModule
from datamodules.digits import load_digits

SPLITS = ("train", "val", "test")


class TestDigits:
    def test_splits_are_disjoint_complete_stratified_and_independent_of_the_seed(self):
        from sklearn.datasets import load_digits

        data, other = DigitsDataModule(), DigitsDataModule(seed=9)
        splits = [data.dataset(split) for split in SPLITS]
        assert [len(split) for split in splits] == [1197, 300, 300]
        # The 1,797 digits differ from one another, so equal sets of images mean equal and disjoint splits.
        original = {tuple(x) for x in np.round(load_digits().data * 255 / 16).astype(int).tolist()}
        parts = [{tuple(x.flatten().tolist()) for x in split.images} for split in splits]
        assert set.union(*parts) == original
        assert sum(len(part) for part in parts) == len(original) == 1797
        for name, split in zip(SPLITS, splits, strict=True):
            assert torch.equal(split.images, other.dataset(name).images)
            counts = torch.bincount(split.labels, minlength=10) / len(split)
            share = np.bincount(load_digits().target) / 1797
            assert np.abs(counts.numpy() - share).max() < 2 / len(split)

    def test_images_span_the_bytes_and_labels_belong_to_them(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        label = {tuple(np.round(x * 255 / 16).astype(int).tolist()): y for x, y in zip(*digits_of(digits), strict=True)}
        data = DigitsDataModule()
        test = data.dataset("test")
        assert (test.images.dtype, test.images.shape[1:]) == (torch.uint8, data.image_shape)
        assert (int(test.images.min()), int(test.images.max())) == (0, 255)
        for image, y in test:
            assert label[tuple(image.flatten().tolist())] == int(y)
        assert data.num_classes == 10

    def test_they_are_read_without_the_import_of_scikit_learn_or_by_it_where_the_file_has_moved(self, monkeypatch):
        code = (
            "import sys; from datamodules.digits import load_digits; images, labels = load_digits();"
            "print(images.sum(), labels.sum(), 'sklearn' in sys.modules, 'pandas' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        images, labels = load_digits()
        assert done.stdout.split() == [str(images.sum()), str(labels.sum()), "False", "False"]
        assert (images.dtype, labels.dtype) == (np.float64, np.int64)


def digits_of(digits):
    return digits.data, digits.target


def write_idx(path, array):
    header = np.array([8 * 256 + array.ndim, *array.shape], dtype=">i4")  # 0x08: unsigned byte
    path.write_bytes(header.tobytes() + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist_files(tmp_path):
    rng = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for prefix, size in (("train", 20), ("t10k", 6)):
        arrays[prefix] = rng.integers(256, size=(size, 28, 28)), rng.integers(10, size=size)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", arrays[prefix][0])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", arrays[prefix][1])
    return tmp_path, arrays


class TestMNIST:
    def test_validation_is_the_end_of_the_training_images(self, mnist_files):
        root, arrays = mnist_files
        data = MNISTDataModule(str(root), download=False, val_size=5)
        expected = {"train": ("train", slice(0, 15)), "val": ("train", slice(15, 20)), "test": ("t10k", slice(0, 6))}
        for split, (prefix, part) in expected.items():
            images, labels = data.dataset(split).__getitems__(list(range(len(data.dataset(split)))))
            assert np.array_equal(images.numpy(), arrays[prefix][0][part, None])
            assert np.array_equal(labels.numpy(), arrays[prefix][1][part])
            assert (images.dtype, images.shape[1:]) == (torch.uint8, data.image_shape)

    def test_all_images_may_train(self, mnist_files):
        data = MNISTDataModule(str(mnist_files[0]), download=False, val_size=0)
        assert [len(data.dataset(split)) for split in SPLITS] == [20, 0, 6]
        assert data.val_dataloader() == []

    def test_files_that_are_there_are_not_downloaded(self, mnist_files):
        data = MNISTDataModule(str(mnist_files[0]), download=True, val_size=5)
        data.prepare_data()
        assert len(data.dataset("train")) == 15

    def test_shapes_are_known_without_files(self):
        data = FashionMNISTDataModule("nowhere")
        assert (data.name, data.image_shape, data.num_classes) == ("fashion_mnist", (1, 28, 28), 10)
        data = MNISTDataModule("nowhere")
        assert (data.name, data.image_shape, data.num_classes) == ("mnist", (1, 28, 28), 10)

    def test_bad_input_is_named(self, mnist_files, tmp_path):
        with pytest.raises(ValueError, match="val_size=-1"):
            MNISTDataModule(val_size=-1)
        with pytest.raises(ValueError, match=r"val_size=20.*20 training images"):
            MNISTDataModule(str(mnist_files[0]), download=False, val_size=20).dataset("train")
        for module in (MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule):
            with pytest.raises(FileNotFoundError, match=r"root='.*empty'.*download=True"):
                module(str(tmp_path / "empty"), download=False).dataset("train")

    def test_a_failed_download_is_named(self, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("no route to host")

        monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
        with pytest.raises(ConnectionError, match=r"(?s)root='.*'.*MNIST.*no route to host"):
            MNISTDataModule(str(tmp_path)).prepare_data()
        MNISTDataModule(str(tmp_path), download=False).prepare_data()

    @pytest.mark.parametrize("there", [None, "new", "new/mine.txt"])
    def test_a_failed_download_leaves_no_folder_of_its_own(self, there, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("no route to host")

        monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
        if there is not None:
            (tmp_path / "new").mkdir()
        if there == "new/mine.txt":
            (tmp_path / there).write_text("stays")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ConnectionError):
            MNISTDataModule(str(tmp_path / "new" / "data")).prepare_data()
        assert sorted(tmp_path.rglob("*")) == before


def test_cifar10_comes_as_channels_first(monkeypatch):
    class CIFAR10:
        def __init__(self, root, train, download):
            size = 12 if train else 4
            self.data = np.random.default_rng(size).integers(256, size=(size, 32, 32, 3), dtype=np.uint8)
            self.targets = [i % 10 for i in range(size)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", CIFAR10)
    data = CIFAR10DataModule(val_size=2)
    assert (data.name, data.image_shape, data.num_classes) == ("cifar10", (3, 32, 32), 10)
    images, labels = data.dataset("val").__getitems__([0, 1])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), CIFAR10("", True, False).data[10:])
    assert labels.tolist() == [0, 1]
    assert [len(data.dataset(split)) for split in SPLITS] == [10, 2, 4]


class TestMixtures:
    @pytest.mark.parametrize(
        ("kind", "name", "modes", "std"), [("ring", "ring8", 8, 0.01), ("grid", "grid25", 25, 0.05)]
    )
    def test_points_follow_the_protocol(self, kind, name, modes, std):
        data = MixtureDataModule(kind)
        assert (data.name, data.image_shape, data.num_classes, data.std) == (name, (2,), modes, std)
        assert [len(data.dataset(split)) for split in SPLITS] == [100_000, 2_500, 2_500]
        points, labels = data.dataset("train").images, data.dataset("train").labels
        assert (points.dtype, labels.dtype, data.means.dtype) == (torch.float32, torch.int64, torch.float32)
        # Nearest mean is the label, counts are uniform, residuals are N(0, std² I): each within five standard errors.
        assert torch.equal(torch.cdist(points, data.means).argmin(1), labels)
        p = 1 / modes
        counts = torch.bincount(labels, minlength=modes)
        assert (counts - 100_000 * p).abs().max() < 5 * (100_000 * p * (1 - p)) ** 0.5
        residual = ((points - data.means[labels]) / std).double()
        assert residual.mean(0).abs().max() < 5 / 100_000**0.5
        assert (residual.T @ residual / 100_000 - torch.eye(2)).abs().max() < 5 * (2 / 100_000) ** 0.5
        assert (residual.norm(dim=1) < 3).double().mean() == pytest.approx(1 - np.exp(-4.5), abs=2e-3)

    def test_means(self):
        ring, grid = MixtureDataModule("ring").means, MixtureDataModule("grid").means
        assert torch.allclose(ring.norm(dim=1), torch.ones(8))
        assert torch.cdist(ring, ring).fill_diagonal_(9).min() == pytest.approx(2 * np.sin(np.pi / 8))
        assert sorted(grid.tolist()) == sorted(
            [float(x), float(y)] for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)
        )
        assert torch.allclose(MixtureDataModule("ring", scale=2).means, 2 * ring)

    def test_splits_are_fixed_and_fresh(self):
        data, other = MixtureDataModule(num_points=2_500), MixtureDataModule(num_points=2_500, seed=5)
        images = [data.dataset(split).images for split in SPLITS]
        assert all(torch.equal(x, other.dataset(split).images) for x, split in zip(images, SPLITS, strict=True))
        assert len(torch.cat(images).unique(dim=0)) == 7_500

    def test_a_batch_of_points_stays_as_it_is(self):
        data = MixtureDataModule(num_points=100, batch_size=10)
        batch = next(iter(data.train_dataloader()))
        points, _ = data.on_after_batch_transfer(batch, 0)
        assert points is batch[0]
        assert points.shape == (10, 2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"kind": "spiral"}, "kind='spiral'"),
            ({"num_points": 0}, "num_points=0"),
            ({"scale": 0.0}, "scale=0.0"),
            ({"std": -1.0}, "std=-1.0"),
        ],
    )
    def test_bad_input_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            MixtureDataModule(**arguments)
