from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from latent_folders import encoded

import datamodules
from datamodules import ArrayDataModule, DataModule, DigitsDataModule, ImageFolderDataModule, MixtureDataModule


def on_process(data: DataModule, rank: int, world_size: int) -> DataModule:
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    return data


def test_to_float_maps_every_byte_exactly_and_leaves_floats_alone():
    values = torch.arange(256, dtype=torch.uint8)
    out = DataModule.to_float(values)
    assert out.dtype == torch.float32
    assert out.tolist() == [float(np.float32(np.float32(v) / np.float32(127.5)) - np.float32(1)) for v in range(256)]
    assert (out[0], out[255]) == (-1, 1)
    assert torch.equal(((out + 1) * 127.5).round().to(torch.uint8), values)
    assert DataModule.to_float(out) is out
    assert torch.equal(values, torch.arange(256, dtype=torch.uint8))


def test_a_batch_becomes_float_after_its_transfer():
    data = DigitsDataModule(batch_size=10)
    images, labels = next(iter(data.train_dataloader()))
    assert (images.shape, images.dtype) == ((10, 1, 8, 8), torch.uint8)
    assert (labels.shape, labels.dtype) == ((10,), torch.int64)
    moved, same = data.on_after_batch_transfer((images, labels), 0)
    assert torch.equal(moved, images.float() / 127.5 - 1)
    assert same is labels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": -3}, "batch_size=-3"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DigitsDataModule(**arguments)


def test_batch_size_must_suit_the_split_and_the_processes():
    with pytest.raises(ValueError, match=r"batch_size=1198.*digits.*1197"):
        DigitsDataModule(batch_size=1198).train_dataloader()
    with pytest.raises(ValueError, match=r"batch_size=9.*divisible by the 2 processes"):
        on_process(DigitsDataModule(batch_size=9), 1, 2).train_dataloader()
    assert len(DigitsDataModule(batch_size=1197).train_dataloader()) == 1


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match=r"split='valid'.*train, val, test"):
        DigitsDataModule().dataset("valid")


def test_data_is_read_once():
    class Counted(DigitsDataModule):
        reads = 0

        def read(self):
            self.reads += 1
            return super().read()

    data = Counted()
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [1197, 300, 300]
    assert data.reads == 1


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_together_train_and_validate_like_one(world_size):
    def batches(rank, world, loader):
        data = on_process(DigitsDataModule(batch_size=20, seed=1, flip=True), rank, world)
        return list(getattr(data, loader)())

    one = batches(0, 1, "train_dataloader")
    parts = [batches(rank, world_size, "train_dataloader") for rank in range(world_size)]
    for t, (images, labels) in enumerate(one):
        for rank, part in enumerate(parts):
            assert torch.equal(part[t][0], images[rank::world_size])
            assert torch.equal(part[t][1], labels[rank::world_size])

    val = DigitsDataModule().dataset("val").images
    for rank in range(world_size):
        seen = torch.cat([images for images, _ in batches(rank, world_size, "val_dataloader")])
        assert torch.equal(seen, val[rank::world_size])


def test_the_runs_seed_orders_the_data_unless_one_is_given(monkeypatch):
    def first(seed=None):
        return next(iter(DigitsDataModule(seed=seed).train_dataloader()))[0]

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    default = first()
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert torch.equal(default, first(0))
    assert torch.equal(first(), first(7))
    assert not torch.equal(default, first())


def test_points_are_not_mirrored(tmp_path):
    np.save(tmp_path / "points.npy", np.zeros((50, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="flip=True: points holds points"):
        ArrayDataModule(str(tmp_path / "points.npy"), flip=True, batch_size=4).train_dataloader()


class Nothing(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return self.weight * batch[0].mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_checkpoints_hold_plain_values_and_rebuild_the_module(tmp_path):
    path = tmp_path / "images.npz"
    loading = {"persistent_workers": False, "pin_memory": False, "prefetch_factor": None}
    np.savez(path, images=np.zeros((50, 4, 4), dtype=np.uint8))
    for data, expected in (
        (
            ArrayDataModule(path, batch_size=8, val_share=0.2),
            {"path": str(path), "layout": "auto", "val_share": 0.2, "test_share": 0.1, "batch_size": 8}
            | {"num_workers": 0, "flip": False, "seed": None, "ending": "", "images": None, "labels": None}
            | {"renumber": None, "white": None, "attributes": None, "splits": "auto", "lazy": True}
            | loading,
        ),
        (
            MixtureDataModule(num_points=100, batch_size=8, seed=4),
            {"kind": "grid", "num_points": 100, "scale": None, "std": None, "batch_size": 8, "flip": False}
            | {"num_workers": 0, "seed": 4}
            | loading,
        ),
    ):
        trainer = L.Trainer(
            default_root_dir=tmp_path, accelerator="cpu", max_steps=1, logger=False, enable_progress_bar=False
        )
        trainer.fit(Nothing(), data)
        trainer.save_checkpoint(tmp_path / "run.ckpt")
        stored = torch.load(tmp_path / "run.ckpt", weights_only=True)["datamodule_hyper_parameters"]
        assert stored == expected
        rebuilt = type(data).load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
        assert rebuilt.hparams == data.hparams
        assert rebuilt.image_shape == data.image_shape


def test_folders_are_stored_as_text():
    hparams = ImageFolderDataModule(Path("somewhere"), image_size=(4, 6), channels=1).hparams
    assert hparams["root"] == "somewhere"
    assert {type(value) for value in hparams.values()} <= {str, int, float, bool, tuple, type(None)}


def parse(*arguments: str) -> DataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    return parser.instantiate(parser.parse_args([f"--data={arguments[0]}", *arguments[1:]])).data


@pytest.mark.parametrize("name", [n for n in datamodules.__all__ if n.endswith("DataModule") and n != "DataModule"])
def test_every_module_is_built_by_the_command_line(name, tmp_path):
    required = {
        "ArrayDataModule": ["--data.path=x.npz"],
        "GreyToColourDataModule": ["--data.images=CIFAR10DataModule"],
        "ImageFolderDataModule": ["--data.root=x"],
        "PairedDataModule": [f"--data.a={tmp_path}", f"--data.b={tmp_path}"],
        "StreamingDataModule": ["--data.root=x"],
        "TorchvisionDataModule": ["--data.name=SVHN"],
        "UnpairedDataModule": ["--data.a=DigitsDataModule", "--data.classes_a=[3]", "--data.classes_b=[5]"],
    }
    if name == "LatentDataModule":  # which compares the folder with its codec
        required[name] = [f"--data.root={encoded(tmp_path)}"]
    data = parse(name, *required.get(name, []), "--data.batch_size=6", "--data.num_workers=1", "--data.seed=2")
    assert type(data).__name__ == name
    assert (data.batch_size, data.num_workers, data.seed) == (6, 1, 2)
    assert isinstance(data.name, str)


def test_the_command_line_refuses_what_a_module_does_not_have():
    with pytest.raises(ArgumentError, match="flip"):
        parse("MixtureDataModule", "--data.flip=true")
    assert parse("CIFAR10DataModule", "--data.flip=true").flip
    assert parse("ImageFolderDataModule", "--data.root=x", "--data.image_size=[32, 48]").image_shape == (3, 32, 48)
