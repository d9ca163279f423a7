"""Shards: what is written is read, in an order that nothing but seed and epoch decides."""

import io
import tarfile

import lightning as L
import numpy as np
import pytest
import torch
import webdataset
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from datamodules import ArrayDataModule, DigitsDataModule, StreamingDataModule
from datamodules.shard_index import INDEX, ShardIndex
from datamodules.shard_writer import write_shards
from lit_gen.cli.commands.sources import read_source
from lit_gen.metrics.choosing import training_command

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """100 images (3, 4, 4) for training in shards of 30, 12 for validation, 7 for the test."""
    folder = tmp_path_factory.mktemp("data")
    arrays = {}
    for split, count in (("train", 100), ("val", 12), ("test", 7)):
        arrays[f"x_{split}"] = rng.integers(256, size=(count, 4, 4, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 5
    np.savez(folder / "images.npz", **arrays)
    data = ArrayDataModule(str(folder / "images.npz"), layout="NHWC")
    write_shards(data, folder / "shards", images_per_shard=30)
    return folder / "shards", data


def epoch(loader, number=0):
    loader.sampler.set_epoch(number)
    return list(loader)


def test_shards_give_back_the_images_and_labels(shards):
    folder, source = shards
    assert sorted(path.name for path in folder.iterdir()) == [
        INDEX, "test-000000.tar", *(f"train-00000{i}.tar" for i in range(4)), "val-000000.tar",
    ]  # fmt: skip
    data = StreamingDataModule(str(folder))
    assert (data.image_shape, data.num_classes, data.name) == ((3, 4, 4), 5, "shards")
    for split in ("train", "val", "test"):
        given, read = source.dataset(split), data.dataset(split)
        assert len(given) == len(read)
        for part in (list(range(len(given))), [5, 2, 2]):
            for a, b in zip(given.__getitems__(part), read.__getitems__(part), strict=True):
                assert torch.equal(a, b)


def test_webdataset_reads_the_same(shards):
    folder, source = shards
    pattern = str(folder / "train-{000000..000003}.tar")
    read = list(webdataset.WebDataset(pattern, shardshuffle=False).decode("rgb8").to_tuple("png", "cls"))
    images, labels = source.dataset("train").__getitems__(list(range(100)))
    assert np.array_equal(np.stack([image for image, _ in read]), images.permute(0, 2, 3, 1).numpy())
    assert [label for _, label in read] == labels.tolist()


def test_shards_of_webdatasets_own_writer_without_an_index_are_read(tmp_path):
    pictures = rng.integers(256, size=(6, 5, 5), dtype=np.uint8)
    with webdataset.TarWriter(str(tmp_path / "photos-0.tar")) as writer:
        for i, picture in enumerate(pictures):
            sample = {"__key__": f"deep/{i}", "png": Image.fromarray(picture), "json": {"note": 1}, "cls": 2}
            writer.write(sample)
    data = StreamingDataModule(str(tmp_path))
    assert (data.image_shape, data.num_classes) == ((1, 5, 5), 3)
    images, labels = data.dataset("train").__getitems__(list(range(6)))
    assert np.array_equal(images[:, 0].numpy(), pictures)
    assert labels.tolist() == [2] * 6
    assert len(data.dataset("val")) == 0
    assert StreamingDataModule(str(tmp_path), image_size=(3, 4), channels=3).dataset("train")[0][0].shape == (3, 3, 4)


def test_an_index_of_other_files_is_not_used(shards, tmp_path):
    folder, _ = shards
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "train-000003.tar").write_bytes((folder / "train-000000.tar").read_bytes())
    assert len(StreamingDataModule(str(tmp_path)).dataset("train")) == 120
    (tmp_path / INDEX).write_bytes(b"PK damaged")
    assert len(ShardIndex.of(tmp_path).shard) == 139


def test_an_epoch_is_every_image_once_and_a_function_of_seed_and_epoch(shards):
    def order(number=0, **kwargs):
        data = StreamingDataModule(str(shards[0]), batch_size=10, window=20, **kwargs)
        sampler = data.train_dataloader().sampler
        sampler.set_epoch(number)
        return list(sampler)

    first = order(seed=1)
    assert sorted(first) == list(range(100))
    assert first == order(seed=1)
    assert first != order(seed=2)
    assert first != order(1, seed=1)
    for start in range(0, 100, 20):  # a window of 20 touches at most 3 of the shards of 30, or 10
        assert len({i // 30 for i in first[start : start + 20]}) <= 3
    assert [i // 30 for i in first] != sorted(i // 30 for i in first)
    whole = StreamingDataModule(str(shards[0]), batch_size=10, window=1000, seed=1).train_dataloader().sampler
    assert len({i // 30 for i in list(whole)[:60]}) == 4


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_and_workers_share_one_stream(shards, world_size, monkeypatch):
    def batches(rank, world_size, workers=0):
        data = StreamingDataModule(str(shards[0]), batch_size=8, window=20, num_workers=workers)
        monkeypatch.setattr(data, "_process", lambda: (rank, world_size))
        return epoch(data.train_dataloader(), 3)

    whole = batches(0, 1)
    parts = [batches(rank, world_size, workers=2 * (rank == 0)) for rank in range(world_size)]
    assert len(whole) == 12
    for i, (images, labels) in enumerate(whole):
        joined = [torch.stack([part[i][k] for part in parts], 1).flatten(0, 1) for k in (0, 1)]
        assert torch.equal(joined[0], images)
        assert torch.equal(joined[1], labels)


class Recorder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        self.seen.append((images.clone(), labels.clone()))
        return self.weight * images.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*")
def test_a_resumed_run_goes_on_in_the_middle_of_an_epoch_without_reading_what_it_leaves_out(
    shards, tmp_path, monkeypatch
):
    reads = []
    original = StreamingDataModule.dataset(StreamingDataModule(str(shards[0])), "train").__class__._decoded
    monkeypatch.setattr(
        "datamodules.shards.ShardImages._decoded", lambda self, *a: reads.append(a[2]) or original(self, *a)
    )

    def run(steps, ckpt_path=None):
        module = Recorder()
        saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = L.Trainer(
            accelerator="cpu", max_steps=steps, logger=False, enable_progress_bar=False, enable_model_summary=False,
            limit_val_batches=0, callbacks=[saving], default_root_dir=tmp_path,
        )  # fmt: skip
        data = StreamingDataModule(str(shards[0]), batch_size=8, window=20, flip=True)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        return module.seen

    whole = run(20)  # of 12 batches an epoch
    reads.clear()
    rest = run(20, tmp_path / "step=7.ckpt")
    assert len(reads) == 13 * 8
    assert len(rest) == 13
    for a, b in zip(whole[7:], rest, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def test_points_and_odd_channels_are_arrays(tmp_path):
    points = rng.normal(size=(30, 2)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    write_shards(ArrayDataModule(str(tmp_path / "points.npy"), test_share=0), tmp_path / "shards", 8)
    data = StreamingDataModule(str(tmp_path / "shards"), batch_size=4)
    assert (data.image_shape, data.num_classes) == ((2,), 0)
    assert data.test_dataloader() == []
    read = torch.cat([data.dataset(s).__getitems__(list(range(n)))[0] for s, n in (("train", 27), ("val", 3))])
    assert sorted(read.tolist()) == sorted(points.tolist())


def tar(path, *members):
    with tarfile.open(path, "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([print, {}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.cls", b"0")], "sample a has no image"),
        ([("a.png", b"x"), ("a.jpg", b"x")], "sample a has more than one image"),
        ([("a.png", b"x"), ("a.cls", b"cat")], "a.cls holds b'cat'"),
        ([("a.png", b"x")], "not a readable image"),
        ([("a.npy", b"x")], "not a readable array"),
        ([("a.npy", pickled())], "not a readable array"),
        ([("a", b"x")], "no training image"),
    ],
)
def test_what_is_wrong_with_a_shard_is_named(tmp_path, members, message):
    tar(tmp_path / "a.tar", *members)
    with pytest.raises(ValueError, match=message):
        StreamingDataModule(str(tmp_path)).image_shape  # noqa: B018


def test_damaged_shards_and_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        StreamingDataModule(str(tmp_path / "nowhere")).num_classes  # noqa: B018
    with pytest.raises(ValueError, match="no shard"):
        StreamingDataModule(str(tmp_path)).num_classes  # noqa: B018
    tar(tmp_path / "a.tar", ("a.png", png()), ("b.png", png()[:40]))
    data = StreamingDataModule(str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.tar: image 1: not a readable image"):
        data.dataset("train").__getitems__([0, 1])
    (tmp_path / "a.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(ValueError, match=r"a\.tar: not a whole, uncompressed tar file"):
        StreamingDataModule(str(tmp_path)).num_classes  # noqa: B018


@pytest.mark.parametrize("arguments", [{"image_size": 0}, {"channels": 2}, {"window": 0}])
def test_bad_stream_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        StreamingDataModule("x", **arguments)


def test_an_interrupted_writer_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.shard_writer.encoded", lambda image: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_shards(DigitsDataModule(), tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="exists already"):
        write_shards(DigitsDataModule(), tmp_path)


def write_samples(folder, *samples):
    folder.mkdir()
    with webdataset.TarWriter(str(folder / "train-0.tar")) as writer:
        for i, sample in enumerate(samples):
            writer.write({"__key__": str(i), **sample})
    return str(folder)


def test_labels_of_some_samples_are_an_error_that_names_one_without_or_are_dropped(tmp_path):
    pictures = rng.integers(256, size=(3, 5, 5), dtype=np.uint8)
    root = write_samples(tmp_path / "x", *({"png": Image.fromarray(p), **({} if i == 1 else {"cls": 2})}
                                           for i, p in enumerate(pictures)))  # fmt: skip
    with pytest.raises(ValueError, match=r"train-0\.tar: image 1 has no label, as 1 of 3, .*labels='none' drops them"):
        StreamingDataModule(root).dataset("train")
    data = StreamingDataModule(root, labels="none")
    images, labels = data.dataset("train").__getitems__([0, 1, 2])
    assert (data.num_classes, labels.tolist()) == (0, [0, 0, 0])
    assert np.array_equal(images[:, 0].numpy(), pictures)
    with pytest.raises(ValueError, match="labels='no': must be 'auto' or 'none'"):
        StreamingDataModule(root, labels="no")


def test_colours_that_a_grey_first_picture_costs_are_told_and_kept_in_scores(tmp_path):
    grey, colours = rng.integers(256, size=(5, 5), dtype=np.uint8), rng.integers(256, size=(5, 5, 3), dtype=np.uint8)
    root = write_samples(tmp_path / "x", *({"png": Image.fromarray(picture)} for picture in (grey, colours, colours)))
    data = StreamingDataModule(root)
    assert data.image_shape == (1, 5, 5)
    told = "2 of 3 pictures looked at lose their colours, as the first is grey; channels=3 keeps them"
    assert told in data.summary().warnings
    for kept in (StreamingDataModule(root, channels=3), read_source(root, "train", "uint8", None)):
        assert kept.image_shape == (3, 5, 5)
        assert not any("colours" in warning for warning in kept.summary().warnings)
        assert np.array_equal(kept.dataset("train")[1][0].permute(1, 2, 0).numpy(), colours)
    assert not any("colours" in warning for warning in StreamingDataModule(root, channels=1).summary().warnings)


def test_the_command_that_trains_an_extractor_names_the_shards(tmp_path):
    root = write_samples(tmp_path / "x", {"png": Image.new("L", (6, 6))})
    told = training_command(StreamingDataModule(root, image_size=16))
    assert f"lit-gen extractor StreamingDataModule --root {root} --size 16 --channels 1 --out own_x" in told
