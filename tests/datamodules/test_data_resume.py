"""A real Trainer: an interrupted and resumed run sees the images that an uninterrupted one sees."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.base import DataModule
from datamodules.datasets import InMemoryDataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]


class Indexed(DataModule):
    """23 training images (1, 1, 2), dark on the left; the label is the index."""

    name = "indexed"
    image_shape = (1, 1, 2)
    num_classes = 0

    def __init__(self, val_size: int = 5, **kwargs):
        super().__init__(**kwargs)
        self.val_size = val_size

    def read(self):
        def part(size):
            images = torch.tensor([0, 255], dtype=torch.uint8).expand(size, 1, 1, 2).contiguous()
            return InMemoryDataset(images, torch.arange(size))

        return {"train": part(23), "val": part(self.val_size), "test": part(7)}


class Recorder(L.LightningModule):
    """Trains nothing that matters; records (epoch, index, flipped) of each image, and a draw of global noise."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated, self.tested = [], [], []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        assert images.dtype == torch.float32
        flipped = images[:, 0, 0, 0] == 1
        self.seen.append([(self.current_epoch, int(i), bool(f)) for i, f in zip(labels, flipped, strict=True)])
        return self.weight * images.mean()

    def validation_step(self, batch, batch_idx):
        self.validated += batch[1].tolist()

    def test_step(self, batch, batch_idx):
        self.tested += batch[1].tolist()

    def predict_step(self, batch, batch_idx):
        return batch[1]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, callbacks=(), **kwargs):
    return L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        num_sanity_val_steps=0,
        **kwargs,
    )


def run(folder, num_workers=0, val_size=5, ckpt_path=None, **kwargs):
    """Three epochs with a checkpoint after every batch and after every epoch; returns the batches seen."""
    callbacks = []
    if ckpt_path is None:
        callbacks = [
            ModelCheckpoint(folder, "step{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False),
            ModelCheckpoint(folder, "epoch{epoch}", every_n_epochs=1, save_top_k=-1, auto_insert_metric_name=False),
        ]
    module = Recorder()
    data = Indexed(val_size=val_size, batch_size=4, num_workers=num_workers, flip=True, seed=3)
    fit = trainer(folder, callbacks, max_epochs=3, **kwargs)
    fit.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module.seen


@pytest.mark.parametrize("val_size", [5, 0])
def test_resuming_after_any_batch_or_epoch_changes_nothing(tmp_path, val_size):
    whole = run(tmp_path, val_size=val_size)
    assert len(whole) == 15
    assert [batch[0][0] for batch in whole] == [0] * 5 + [1] * 5 + [2] * 5
    for step in (1, 4, 5, 7, 10, 14):
        assert run(tmp_path, val_size=val_size, ckpt_path=tmp_path / f"step{step}.ckpt") == whole[step:]
    for epoch in (0, 1):
        rest = run(tmp_path, val_size=val_size, ckpt_path=tmp_path / f"epoch{epoch}.ckpt")
        assert rest == whole[5 * (epoch + 1) :]


def test_resuming_with_workers_changes_nothing(tmp_path):
    whole = run(tmp_path)
    for name, step in (("step7", 7), ("step5", 5), ("epoch1", 10)):
        assert run(tmp_path, num_workers=2, ckpt_path=tmp_path / f"{name}.ckpt") == whole[step:]


def test_resuming_a_run_of_shortened_epochs(tmp_path):
    whole = run(tmp_path, limit_train_batches=3)
    assert len(whole) == 9
    for step in (2, 3, 4, 6):
        rest = run(tmp_path, ckpt_path=tmp_path / f"step{step}.ckpt", limit_train_batches=3)
        assert rest == whole[step:]


def test_every_image_is_validated_tested_and_predicted_once_and_in_order(tmp_path):
    module, data = Recorder(), Indexed(batch_size=4)
    trainer(tmp_path).validate(module, data, verbose=False)
    trainer(tmp_path).test(module, data, verbose=False)
    predicted = trainer(tmp_path).predict(module, data)
    assert module.validated == [0, 1, 2, 3, 4]
    assert module.tested == [0, 1, 2, 3, 4, 5, 6] == torch.cat(predicted).tolist()


def test_overfit_batches_repeats_the_same_batches(tmp_path):
    module = Recorder()
    trainer(tmp_path, max_epochs=2, overfit_batches=2).fit(module, Indexed(batch_size=4, flip=True))
    first, second = ([[image[1:] for image in batch] for batch in module.seen[i : i + 2]] for i in (0, 2))
    assert first == second
    assert [i for batch in first for i, _ in batch] == list(range(8))
