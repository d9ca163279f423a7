"""What every data module promises. A new one is one line in EVERY; what it reads, `files` writes into a folder."""

import itertools
import json
import pickle
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
import torchvision
from families import unlisted
from latent_folders import encoded
from PIL import Image
from record_files import encoded as encoded_picture
from record_files import write_lmdb, write_parquet

import datamodules
from datamodules import (
    ArrayDataModule,
    CIFAR10DataModule,
    DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    GreyToColourDataModule,
    HuggingFaceDataModule,
    ImageFolderDataModule,
    LatentDataModule,
    LMDBDataModule,
    MixtureDataModule,
    MNISTDataModule,
    PairedDataModule,
    RecolouredDigitsDataModule,
    StackedMNISTDataModule,
    StreamingDataModule,
    TorchvisionDataModule,
    UnpairedDataModule,
)
from datamodules.datasets import SPLITS
from datamodules.shard_writer import write_shards
from datamodules.two_domains import TwoDomains

BATCH, VAL = 8, 5
# Each takes the folder of files, and further arguments of its class.
EVERY = {
    ArrayDataModule: lambda folder, **more: ArrayDataModule(f"{folder}/images.npz", **more),
    CIFAR10DataModule: lambda folder, **more: CIFAR10DataModule(str(folder), False, VAL, **more),
    DigitsDataModule: lambda folder, **more: DigitsDataModule(**more),
    FashionMNISTDataModule: lambda folder, **more: FashionMNISTDataModule(str(folder), False, VAL, **more),
    GreyToColourDataModule: lambda folder, **more: GreyToColourDataModule(
        CIFAR10DataModule(str(folder), False, VAL), **more
    ),
    HuggingFaceDataModule: lambda folder, **more: HuggingFaceDataModule(
        f"{folder}/table.parquet", (6, 4), window=20, **more
    ),
    ImageFolderDataModule: lambda folder, **more: ImageFolderDataModule(f"{folder}/pictures", (6, 4), **more),
    LatentDataModule: lambda folder, **more: LatentDataModule(f"{folder}/latents_0", **more),
    LMDBDataModule: lambda folder, **more: LMDBDataModule(f"{folder}/bases", (6, 4), **more),
    MNISTDataModule: lambda folder, **more: MNISTDataModule(str(folder), False, VAL, **more),
    MixtureDataModule: lambda folder, **more: MixtureDataModule(num_points=100, **more),
    PairedDataModule: lambda folder, **more: PairedDataModule(
        f"{folder}/pictures", f"{folder}/pictures", (6, 4), **more
    ),
    RecolouredDigitsDataModule: lambda folder, **more: RecolouredDigitsDataModule(**more),
    StackedMNISTDataModule: lambda folder, **more: StackedMNISTDataModule(
        50, root=str(folder), download=False, val_size=VAL, **more
    ),
    TorchvisionDataModule: lambda folder, **more: TorchvisionDataModule(
        "EuroSAT", str(folder), False, VAL, image_size=(6, 4), **more
    ),
    StreamingDataModule: lambda folder, **more: StreamingDataModule(f"{folder}/shards", window=20, **more),
    UnpairedDataModule: lambda folder, **more: UnpairedDataModule(
        DigitsDataModule(), None, classes_a=[3], classes_b=[8, 9], **more
    ),
}

every_module = pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)


def test_every_public_data_module_is_listed():
    assert not unlisted(datamodules, DataModule, list(EVERY))


def write_idx(path, array):
    header = np.array([8 * 256 + array.ndim, *array.shape], dtype=">i4")  # 0x08: unsigned byte
    path.write_bytes(header.tobytes() + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random images in the layouts of all data sets, 40 for training and 10 for the test."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST"):
        raw = folder / name / "raw"
        raw.mkdir(parents=True)
        for prefix, size in (("train", 40), ("t10k", 10)):
            write_idx(raw / f"{prefix}-images-idx3-ubyte", rng.integers(256, size=(size, 28, 28)))
            write_idx(raw / f"{prefix}-labels-idx1-ubyte", rng.integers(10, size=size))
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        size = 10 if name == "test_batch" else 8
        content = {"data": rng.integers(256, size=(size, 3072), dtype=np.uint8), "labels": rng.integers(10, size=size)}
        (batches / name).write_bytes(pickle.dumps({**content, "labels": content["labels"].tolist()}))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    np.savez(
        folder / "images.npz", images=rng.integers(256, size=(50, 6, 5, 3), dtype=np.uint8), labels=np.arange(50) % 7
    )
    pictures = [rng.integers(256, size=(9, 7, 3), dtype=np.uint8) for _ in range(50)]
    for i, picture in enumerate(pictures):
        for path in (folder / "pictures", folder / "eurosat" / "2750"):
            path = path / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    for i, name in enumerate(("a_lmdb", "b_lmdb")):
        contents = {f"{j:02d}": encoded_picture(p) for j, p in enumerate(pictures) if j % 2 == i}
        write_lmdb(folder / "bases" / name, contents)
    write_parquet(folder / "table.parquet", [encoded_picture(p) for p in pictures], [i % 2 for i in range(50)], "ab")
    encoded(folder)
    write_shards(ArrayDataModule(str(folder / "images.npz")), folder / "shards", images_per_shard=15)
    return folder


@pytest.fixture
def make(kind, files, monkeypatch):
    """Builds the data module with further arguments."""
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda self: None)
    return partial(EVERY[kind], files, **{"batch_size": BATCH, "seed": 0})


def loaders(data):
    return {
        "train": data.train_dataloader(),
        "val": data.val_dataloader(),
        "test": data.test_dataloader(),
        "predict": data.predict_dataloader(),
    }


def batches(data, loader, count=None):
    """The first batches as (images, labels), of each domain if there are several, as training gets them."""
    for batch in itertools.islice(loader, count):
        moved = data.on_after_batch_transfer(batch, 0)
        yield list(moved.values()) if isinstance(moved, dict) else [moved]


def flat(data, loader, count=None):
    return [tensor for parts in batches(data, loader, count) for part in parts for tensor in part]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@every_module
def test_shape_and_classes_are_known_before_the_data_are_read(kind, make, monkeypatch):
    for base in [base for base in kind.__mro__ if "read" in vars(base)]:
        monkeypatch.setattr(base, "read", lambda self: pytest.fail("the data were read"))
    data = make()
    assert data.name
    assert len(data.image_shape) in (1, 3)
    assert data.num_classes >= 0


@every_module
def test_batches_are_float32_in_range_with_labels_in_range_and_as_many_as_said(make):
    data = make()
    shapes = [data.image_shape, getattr(data, "target_shape", data.image_shape)]  # the latter of a second domain
    classes, free = data.num_classes, not data.bounded
    for name, loader in loaders(data).items():
        found, counts = list(batches(data, loader)), []
        assert len(found) == len(loader) > 0
        for i, (images, labels) in itertools.chain(*map(enumerate, found)):
            assert (images.dtype, images.shape) == (torch.float32, (len(labels), *shapes[i]))
            assert (labels.dtype, labels.ndim) == (torch.int64, 1)
            assert free or (images.abs() <= 1).all()
            assert ((labels >= 0) & (labels < max(classes, 1))).all()
            counts.append(len(labels))
        if name == "train":
            assert set(counts) == {BATCH}
            assert len(loader) == len(data.dataset("train")) // BATCH
        else:
            assert max(counts) <= BATCH
    everything = torch.cat([labels for parts in batches(data, loaders(data)["train"]) for _, labels in parts])
    assert classes == 0 or len(everything.unique()) > 1


def keys(data, split):
    """The bytes of every image of a split, by domain."""
    dataset = data.dataset(split)
    domains = [dataset.a, dataset.b] if isinstance(data, TwoDomains) else [dataset]
    for domain in domains:
        images, _ = domain.__getitems__(list(range(len(domain))))
        yield [image.numpy().tobytes() for image in images]


@every_module
def test_splits_share_no_image(make):
    data = make()
    assert all(len(data.dataset(split)) > 0 for split in SPLITS)
    for parts in zip(*(keys(data, split) for split in SPLITS), strict=True):
        assert sum(len(set(part)) for part in parts) == len(set(itertools.chain(*parts)))


def epoch(data, number, count=4):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return flat(data, loader, count)


@every_module
def test_order_is_by_seed_and_epoch_with_and_without_workers(make):
    expected = epoch(make(), 0)
    assert same(epoch(make(), 0), expected)
    assert not same(epoch(make(), 1), expected)
    assert not same(epoch(make(seed=1), 0), expected)
    assert same(epoch(make(num_workers=1), 0), expected)
    assert same(flat(make(), make().test_dataloader()), flat(make(), make(num_workers=1).test_dataloader()))


@every_module
def test_an_interrupted_epoch_goes_on_where_it_was(make):
    data, again = make(), make()
    loader, resumed = data.train_dataloader(), again.train_dataloader()
    iterator = iter(loader)
    loader.sampler.set_epoch(3)
    for _ in range(2):
        next(iterator)
    state = json.loads(json.dumps(loader.state_dict()))
    rest = flat(data, iterator, 2)
    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(3)
    assert rest
    assert same(flat(again, resumed, 2), rest)
    assert not same(flat(again, resumed, 2), rest)  # the next pass begins at the first batch


@every_module
def test_a_checkpoint_of_plain_values_gives_the_data_again(kind, make, tmp_path):
    data = make()
    stored = {"datamodule_hyper_parameters": dict(data.hparams), "pytorch-lightning_version": L.__version__}
    torch.save(stored, tmp_path / "run.ckpt")
    again = kind.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert (again.name, again.image_shape, again.num_classes) == (data.name, data.image_shape, data.num_classes)
    assert same(epoch(again, 0), epoch(data, 0))


@every_module
def test_wrong_numbers_are_named_in_one_line(kind, make):
    for wrong in ({"batch_size": 0}, {"num_workers": -1}, {"seed": -1}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}") as error:
            make(**wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"batch_size=10000.*training split") as error:
        make(batch_size=10_000).train_dataloader()
    assert "\n" not in str(error.value)
