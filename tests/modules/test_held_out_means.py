"""What validation and test measure: the same on any number of processes, in batches of any size."""

from functools import partial

import lightning.pytorch as L
import pytest
import torch
from process_group import in_group

from datamodules import DataModule, InMemoryDataset
from lit_gen import VAE
from lit_gen.distributions import Bernoulli
from lit_gen.networks import MLPDecoder, MLPEncoder
from lit_gen.training.held_out_means import HeldOutMeans

SIZES = (10, 11, 101)


class Few(DataModule):
    """As many random images as are wanted."""

    name = "few"
    image_shape = (1, 4, 4)
    num_classes = 0

    def __init__(self, size, batch_size):
        super().__init__(batch_size)
        self.size = size

    def read(self):
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.size, 1, 4, 4), generator=generator, dtype=torch.uint8)
        data = InMemoryDataset(images, torch.zeros(self.size, dtype=torch.int64))
        return {"train": data, "val": data, "test": data}


class Users(VAE):
    """A module of a user's, with a value of its own."""

    def test_step(self, batch, batch_idx):
        super().test_step(batch, batch_idx)
        self.log("test/brightness", batch[0].double().mean())
        if batch_idx == 0 and self.trainer.global_rank == 0:
            self.log("test/rare", 3.0)


def measured(size, batch_size, precision, devices=1):
    torch.manual_seed(0)
    width = {"width": 8, "depth": 1}
    module = Users(
        (1, 4, 4),
        3,
        partial(MLPEncoder, **width),
        partial(MLPDecoder, **width),
        partial(Bernoulli, binarization="dynamic"),
    )
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, precision=precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    (values,) = trainer.test(module, datamodule=Few(size, batch_size), verbose=False)
    return values


def all_measured(precision, devices=1):
    return {size: measured(size, batch_size, precision, devices) for size in SIZES for batch_size in (8,)}


@pytest.mark.parametrize(("precision", "tolerance"), [("64-true", 1e-9), ("32-true", 3e-6)])
def test_any_number_of_processes_measures_the_same(precision, tolerance):
    alone = all_measured(precision)
    assert {"test/nelbo_nats", "test/kl_nats", "test/reconstruction_nats", "test/brightness"} <= alone[10].keys()
    for processes in (2, 3, 4):
        for several in in_group(processes, all_measured, precision, processes):
            for size in SIZES:
                assert several[size] == pytest.approx(alone[size], rel=tolerance), (processes, size)


@pytest.mark.parametrize("size", SIZES)
def test_batches_of_any_size_measure_the_same(size):
    expected = measured(size, 4, "64-true")
    assert expected["test/rare"] == 3
    for batch_size in (1, 7, 64):
        assert measured(size, batch_size, "64-true") == pytest.approx(expected, rel=1e-9)


def test_a_mean_counts_every_sample_once():
    means = HeldOutMeans()
    for value, rows in [(1.0, 4), (torch.tensor(3.0, dtype=torch.bfloat16), 1), (torch.tensor([1e8]), 5)]:
        means.add("a", value, rows, {"prog_bar": True})
    means.add("b", 2, 7, {})
    assert means.take(1) == [("a", (4 + 3 + 5e8) / 10, {"prog_bar": True}), ("b", 2.0, {})]
    assert means.take(1) == []
    with pytest.raises(ValueError, match=r"a=\(2,\): a single number"):
        means.add("a", torch.ones(2), 1, {})


class Loaders(VAE):
    """Logs one name in every loader, and takes over a hook of the base."""

    calls_super = True

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val/x", torch.tensor(10.0 * dataloader_idx + 1))

    def test_step(self, batch, batch_idx):
        self.log("test/x", torch.tensor(5.0))

    def on_validation_epoch_end(self):
        if self.calls_super:
            super().on_validation_epoch_end()


def runner():
    return L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip


def test_several_loaders_keep_their_values_apart():
    data, module = Few(10, 4), Loaders((1, 4, 4), 3)
    data.prepare_data()
    data.setup("validate")
    loaders = [data.val_dataloader(), data.val_dataloader()]
    values = {}
    for loader in runner().validate(module, [Converted(loader, data) for loader in loaders], verbose=False):
        values |= loader
    assert values == {"val/x/loader_0": 1.0, "val/x/loader_1": 11.0}


class Converted:
    """Batches of a loader as the data module would give them."""

    def __init__(self, loader, data):
        self.loader, self.data = loader, data

    def __iter__(self):
        return ((self.data.to_float(images), labels) for images, labels in self.loader)

    def __len__(self):
        return len(self.loader)


def test_values_that_a_modules_own_hook_loses_are_told_and_leak_nowhere(recwarn):
    module, trainer = Loaders((1, 4, 4), 3), runner()
    module.calls_super = False
    trainer.validate(module, datamodule=Few(10, 4), verbose=False)
    assert any("val/x: logged in validation_step" in str(warning.message) for warning in recwarn)
    assert trainer.test(module, datamodule=Few(10, 4), verbose=False) == [{"test/x": 5.0}]
