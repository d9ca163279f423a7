"""Large checkpoints are written in the background: the same files, later."""

import threading
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from test_checkpoint import fit, gan, step

from lit_gen.callbacks import AtomicCheckpointIO, RunCheckpoint
from lit_gen.callbacks.checkpoint_io import _size


def checkpoint():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.BatchNorm1d(40))
    shared = torch.randn(100, 100)
    return {
        "state_dict": module.state_dict(),
        "again": [shared, shared[:3], shared.t()],
        "values": {"shape": (1, 8, 8), "name": "name", "lists": [[1.5], None, True]},
    }


@pytest.fixture
def held(monkeypatch):
    """Until it is set nothing is written."""
    event, save = threading.Event(), torch.save

    def wait_and_save(*arguments):
        assert event.wait(60)
        save(*arguments)

    monkeypatch.setattr(torch, "save", wait_and_save)
    yield event
    event.set()


def test_the_file_is_the_same_to_the_last_byte(tmp_path):
    for name, background_gb in (("once", None), ("background", 0.0)):
        writer = AtomicCheckpointIO(background_gb)
        writer.save_checkpoint(checkpoint(), tmp_path / name / "last.ckpt")
        writer.teardown()
    assert len({(tmp_path / name / "last.ckpt").read_bytes() for name in ("once", "background")}) == 1


def test_the_size_counts_shared_memory_once():
    assert _size(checkpoint()) == 4 * (30 * 40 + 40 + 4 * 40 + 100 * 100) + 8


def test_the_training_goes_on_meanwhile_and_the_next_one_waits(tmp_path, held):
    writer, content, path = AtomicCheckpointIO(0.0), {"x": torch.zeros(3)}, tmp_path / "last.ckpt"
    writer.save_checkpoint(content, path)
    assert not path.exists()
    content["x"] += 1
    second = threading.Thread(target=writer.save_checkpoint, args=(content, path))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    held.set()
    second.join()
    assert writer.load_checkpoint(path)["x"].tolist() == [1, 1, 1]
    assert torch.load(tmp_path / "previous.ckpt")["x"].tolist() == [0, 0, 0]
    writer.remove_checkpoint(path)
    assert not path.exists()


def test_an_error_is_raised_by_what_waits(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    for wait in (AtomicCheckpointIO.teardown, lambda writer: writer.save_checkpoint({}, tmp_path / "b.ckpt")):
        writer = AtomicCheckpointIO(0.0)
        writer.save_checkpoint({"value": 2}, tmp_path / "a.ckpt")
        with pytest.raises(OSError, match=r"a\.ckpt: this checkpoint can't be written: No space"):
            wait(writer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["the last step", "an error", "Ctrl-C"])
def test_every_end_waits_for_it(tmp_path, how, assert_same):
    class End(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == 5 and how != "the last step":
                raise ArithmeticError if how == "an error" else KeyboardInterrupt

    for name, background_gb in (("once", None), ("background", 0.0)):
        torch.manual_seed(0)
        callbacks = [RunCheckpoint(every_n_steps=2, background_gb=background_gb), End()]
        try:
            fit(gan(), tmp_path / name, 5 if how == "the last step" else 100, callbacks, limit_val_batches=0)
        except (ArithmeticError, SystemExit):
            assert how != "the last step"
    folders = [Path(tmp_path) / name / "checkpoints" for name in ("once", "background")]
    assert [sorted(file.name for file in folder.iterdir()) for folder in folders] == [
        ["last.ckpt", "previous.ckpt"]
    ] * 2
    assert step(folders[1] / "last.ckpt") == (4 if how == "Ctrl-C" else 5)
    once, background = (torch.load(folder / "last.ckpt", weights_only=True) for folder in folders)
    assert once.keys() == background.keys()
    for key in ("state_dict", "optimizer_states", "lit_gen", "global_step"):
        assert_same(once[key], background[key])
