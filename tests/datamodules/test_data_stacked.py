import numpy as np
import pytest
import torch

from datamodules import StackedMNISTDataModule
from datamodules.datasets import InMemoryDataset
from datamodules.stacked import StackedDataset


def digits(size: int = 50) -> InMemoryDataset:
    """Images whose pixels all hold their index, of digit index mod 10."""
    index = torch.arange(size)
    return InMemoryDataset(index.to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 6).contiguous(), index % 10)


def test_a_triple_is_three_digits_and_its_label_the_number_they_spell():
    base = digits()
    images, labels = StackedDataset(base, 40, (0,)).__getitems__(list(range(40)))
    assert (images.dtype, images.shape, labels.dtype) == (torch.uint8, (40, 3, 4, 6), torch.int64)
    for image, label in zip(images, labels, strict=True):
        chosen = image[:, 0, 0].long()
        assert torch.equal(image, base.images[chosen, 0])
        assert int(label) == sum(int(base.labels[c]) * power for c, power in zip(chosen, (100, 10, 1), strict=True))


def test_triples_depend_on_key_and_index_alone():
    data = StackedDataset(digits(), 1000, (0, 1))
    images, labels = data.__getitems__([3, 999, 3, 500])
    assert torch.equal(images[0], images[2])
    assert torch.equal(data[500][0], images[3])
    assert data[999][1] == labels[1]
    others = StackedDataset(digits(), 1000, (0, 2)).__getitems__(list(range(200)))[0]
    assert not torch.equal(others, data.__getitems__(list(range(200)))[0])


def test_all_digits_are_drawn_alike_and_independently():
    data = StackedDataset(digits(10), 60_000, (5,))
    _, labels = data.__getitems__(list(range(60_000)))
    counts = labels.bincount(minlength=1000).double()
    chi_squared = float(((counts - 60) ** 2 / 60).sum())
    assert abs(chi_squared - 999) < 5 * np.sqrt(2 * 999)


def test_nothing_is_held_beside_the_base():
    base = digits()
    data = StackedDataset(base, 10**9, (0,))
    assert len(data) == 10**9
    assert not any(isinstance(value, (torch.Tensor, np.ndarray)) for value in vars(data).values())


@pytest.fixture
def module(tmp_path) -> StackedMNISTDataModule:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, size in (("train", 20), ("t10k", 6)):
        for kind, array in (("images-idx3", rng.integers(256, size=(size, 28, 28))), ("labels-idx1", np.arange(size))):
            header = np.array([8 * 256 + array.ndim, *array.shape], dtype=">i4")
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(header.tobytes() + (array % 256).astype(np.uint8).tobytes())
    return StackedMNISTDataModule(root=str(tmp_path), download=False, val_size=5, num_triples=300, batch_size=30)


def test_the_module_stacks_each_split_of_its_own_digits(module):
    assert (module.name, module.image_shape, module.num_classes) == ("stacked_mnist", (3, 28, 28), 1000)
    assert [len(module.dataset(split)) for split in ("train", "val", "test")] == [300, 5, 6]
    for split in ("train", "val", "test"):
        data = module.dataset(split)
        known = {image.numpy().tobytes() for image in data.base.images}
        assert {channel.numpy().tobytes() for i in range(len(data)) for channel in data[i][0]} <= known
    images, labels = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert (images.shape, images.dtype) == ((30, 3, 28, 28), torch.float32)
    assert -1 <= images.min() < images.max() <= 1
    assert labels.max() < 20 * 111


def test_bad_numbers_are_named():
    for wrong in ({"num_triples": 0}, {"triples_seed": -1}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            StackedMNISTDataModule(**wrong)
