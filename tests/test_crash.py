"""What a killed, stopped or failing run leaves, and how it goes on."""

import csv
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from datamodules import DigitsDataModule
from lit_gen import VAE
from lit_gen.callbacks import AtomicCheckpointIO, RunCheckpoint
from lit_gen.cli.app import main
from lit_gen.files import remove_leftovers, whole_file
from lit_gen.networks import MLPDecoder, MLPEncoder
from lit_gen.pretrained.resume import last_checkpoint, whole_before

SCRIPT = Path(__file__).parent / "crash_script.py"
GAN = [
    "fit", "--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--data=DigitsDataModule",
    "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
    "--checkpoint.every_n_steps=2", "--trainer.max_steps=6", "--experiment=a",
]  # fmt: skip
LAST = ["--ckpt_path", "last"]


def step(path):
    return torch.load(path, weights_only=True)["global_step"]


def files(pattern="runs/a/*/checkpoints/*"):
    return sorted(path.name for path in Path().glob(pattern))


def refused(arguments, capsys, status=2):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == status
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if "lit-gen: error:" in line) if status == 2 else (err,)
    return line


def test_killed_at_every_moment_of_writing_a_run_ends_as_the_uninterrupted_one(tmp_path, assert_same):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lives = json.loads(done.stdout.splitlines()[-1])
    found = {life["life"]: (life["status"], life["steps"], life["left"] > 0) for life in lives}
    # Each life takes up the last whole checkpoint, writes two and dies in the third.
    assert found == {
        "in_the_middle": (-9, [4, 2], True),
        "written_but_not_renamed": (-9, [8, 6], True),
        "linked": (-9, [12, 10], True),
        "kept": (-9, [16, 16], True),
        "renamed": (-9, [22, 20], False),
        "killed": (0, [24, None], False),
        "straight": (0, [24, 22], False),
    }
    killed, straight = (torch.load(last_checkpoint(tmp_path / name), weights_only=True) for name in found if name in
                        ("killed", "straight"))  # fmt: skip
    for key in ("state_dict", "optimizer_states", "lit_gen", "global_step"):
        assert_same(killed[key], straight[key])


def test_last_is_announced_and_without_one_training_starts_from_scratch(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main([*GAN, *LAST])
    assert "--ckpt_path last: no run in runs/a has a checkpoint; starting from scratch" in capsys.readouterr().err
    assert files() == ["last.ckpt", "previous.ckpt"]
    main([*GAN, *LAST, "--trainer.max_steps=8", "--new_folder=true"])
    err = capsys.readouterr().err
    (first, second) = sorted(Path("runs/a").iterdir())
    assert f"--ckpt_path last: continuing from {first}/checkpoints/last.ckpt, step 6" in err
    assert step(second / "checkpoints/last.ckpt") == 8
    assert last_checkpoint("runs/a") == second / "checkpoints/last.ckpt"
    main(["test", *LAST, "--experiment=a", "--trainer.accelerator=cpu", "--evaluate.num_samples=20"])
    assert f"continuing from {second}" in capsys.readouterr().err
    assert "no run in runs/b has a checkpoint" in refused(["test", *LAST, "--experiment=b"], capsys)

    # Damaged: named, with what to use instead, which isn't taken unasked.
    damaged = second / "checkpoints/last.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    os.utime(damaged)
    line = refused([*GAN, *LAST, "--trainer.max_steps=10"], capsys)
    assert f"{damaged}: not a whole checkpoint" in line
    assert f"the whole one before it: --ckpt_path {first}/checkpoints/last.ckpt" in line
    main([*GAN, "--ckpt_path", str(whole_before(damaged)), "--trainer.max_steps=7"])
    assert step(last_checkpoint("runs/a")) == 7


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_with_the_conventional_status(tmp_path, monkeypatch, capsys, caplog, number, status):
    monkeypatch.chdir(tmp_path)
    usual = signal.getsignal(number)

    class Send(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                os.kill(os.getpid(), number)

    monkeypatch.setattr("lit_gen.cli.app.PredictionWriter", Send)  # one of the callbacks that every run has
    refused([*GAN, "--checkpoint.every_n_steps=100", "--trainer.log_every_n_steps=1"], capsys, status)
    (rows,) = Path().glob("runs/a/*/metrics.csv")
    assert [int(row["step"]) for row in csv.DictReader(rows.open())] == [
        0,
        0,
        1,
        2,
    ]  # from the scores at the start to its own batch
    assert "finishing the batch and saving" in caplog.text
    assert step(last_checkpoint("runs/a")) == 3
    assert signal.getsignal(number) == usual


def test_on_a_full_disk_the_checkpoint_before_stays_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    save = RunCheckpoint._save

    def on_a_full_disk(self, trainer, name):
        if trainer.global_step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        save(self, trainer, name)

    monkeypatch.setattr(RunCheckpoint, "_save", on_a_full_disk)
    try:
        line = refused(GAN, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "last.ckpt: this checkpoint can't be written: File too large; the checkpoint before it" in line
    assert files() == ["last.ckpt"]
    assert files("runs/a/*/checkpoints/.*") == []
    assert step(last_checkpoint("runs/a")) == 2


def test_without_links_the_one_before_is_a_copy(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    for value in (1, 2, 3):
        AtomicCheckpointIO().save_checkpoint({"value": value}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "previous.ckpt") == {"value": 2}
    assert torch.load(tmp_path / "last.ckpt") == {"value": 3}


def test_leftovers_of_the_dead_are_removed_and_files_of_the_living_stay(tmp_path):
    folder = tmp_path / "time" / "checkpoints"
    with whole_file(folder / "last.ckpt") as file:
        (folder / ".last.ckpt.abc.tmp").write_bytes(b"half")
        remove_leftovers(tmp_path, "*/checkpoints")
        assert len(list(folder.iterdir())) == 1
        file.write(b"whole")
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    assert (folder / "last.ckpt").read_bytes() == b"whole"


class At(L.Callback):
    """Ends a run after ``step`` batches, from one of the hooks."""

    def __init__(self, hook, step, ending):
        def end(trainer, *_, **__):
            if trainer.global_step == step and not trainer.sanity_checking:
                ending(trainer)

        setattr(self, hook, end)


def stop(trainer):
    trainer.should_stop = True


def fail(trainer):
    raise ArithmeticError("a user's mistake")


class FailingData(DigitsDataModule):
    """Can't read its sixth batch."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        if self.trainer.training and self.trainer.global_step == 5:
            raise OSError("unreadable")
        return super().on_after_batch_transfer(batch, dataloader_idx)


def small_vae():
    torch.manual_seed(0)
    return VAE((1, 8, 8), 2, partial(MLPEncoder, width=4, depth=1), partial(MLPDecoder, width=4, depth=1))


def training(folder, steps, callbacks=(), data=DigitsDataModule, **options):
    """A run of batches of 128, nine an epoch."""
    return partial(
        L.Trainer(
            max_steps=steps, max_epochs=-1, callbacks=[RunCheckpoint(every_n_steps=1000), *callbacks], logger=False,
            default_root_dir=folder, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
            plugins=[AtomicCheckpointIO()], num_sanity_val_steps=0, **options,
        ).fit,
        small_vae(), datamodule=data(batch_size=128),
    )  # fmt: skip


EVERY_SIX = {"val_check_interval": 6, "check_val_every_n_epoch": None}
EARLY = partial(EarlyStopping, "val/nelbo_nats", stopping_threshold=1e9)
ENDS = {
    "max_time": (5, [At("on_train_batch_end", 5, stop)], {}),
    "an early stopping in the middle of an epoch": (6, [EARLY()], EVERY_SIX),
    "an early stopping at an epoch's end": (9, [EARLY()], {}),
    "an early stopping by a training loss": (
        9, [EARLY("train/loss", check_on_train_epoch_end=True)], {"log_every_n_steps": 1},
    ),
    "an error in a callback after a batch": (5, [At("on_train_batch_end", 5, fail)], {}),
    "an error in a validation": (6, [At("on_validation_end", 6, fail)], EVERY_SIX),
    "an error in the data": (5, [], {"data": FailingData}),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_every_end_leaves_a_checkpoint_from_which_a_run_goes_on(tmp_path, end, assert_same, recwarn):
    steps, callbacks, options = ENDS[end]
    ended = training(tmp_path / "ended", 100, callbacks, **options)
    if "error" in end:
        with pytest.raises((ArithmeticError, OSError)):
            ended()
    else:
        ended()
    last = tmp_path / "ended/checkpoints/last.ckpt"
    assert step(last) == steps
    options = {name: value for name, value in options.items() if name != "data"}
    training(tmp_path / "on", 14, **options)(ckpt_path=last, weights_only=True)
    training(tmp_path / "straight", 14, **options)()
    on, straight = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("on", "straight")
    )
    assert on["global_step"] == 14
    for key in ("state_dict", "optimizer_states", "lit_gen"):
        assert_same(on[key], straight[key])


def test_an_error_in_a_batch_keeps_what_was_trained_and_a_diverged_model_takes_no_ones_place(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    cycle = '{"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 0.001, "total_steps": 4}}'
    monkeypatch.setattr("lit_gen.modules.base.updates_left", lambda scheduler: math.inf)  # as of one's own
    line = refused(
        [*GAN, "--checkpoint.every_n_steps=100", f"--model.generator_scheduler={cycle}", "--trainer.max_steps=9"],
        capsys,
    )
    assert "Tried to step" in line
    assert step(last_checkpoint("runs/a")) >= 4
    main([*GAN, "--ckpt_path", "last", "--model.generator_scheduler=null"])
    assert step(last_checkpoint("runs/a")) == 6
    rate = ["--model.generator_optimizer=torch.optim.SGD", "--model.generator_optimizer.lr=1e38"]
    assert "finite" in refused([*GAN, *rate, "--experiment=b", "--checkpoint.every_n_steps=1"], capsys)
    module = torch.load(last_checkpoint("runs/b").with_name("previous.ckpt"), weights_only=True)
    assert all(value.isfinite().all() for value in module["state_dict"].values())


def test_a_run_that_time_ends_can_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    endless = [part for part in GAN if "max_steps" not in part and "every_n_steps" not in part]
    main([*endless, "--trainer.max_time=00:00:00:01"])
    (folder,) = Path("runs/a").iterdir()
    assert step(folder / "checkpoints/last.ckpt") == json.loads((folder / "run.json").read_text())["step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("receiver", ["first", "second", "both"])
def test_sigterm_to_any_process_saves_and_ends_all(tmp_path, receiver):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    endless = ["--trainer.max_steps=1000000", "--trainer.devices=2", "--trainer.log_every_n_steps=1"]
    command = [sys.executable, "-m", "lit_gen", *GAN, "--checkpoint.every_n_steps=1000000", *endless]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("runs/a/*/metrics.csv")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        second = next(int(c) for c in children if b"lit_gen" in Path(f"/proc/{c}/cmdline").read_bytes())
        for pid in {"first": [process.pid], "second": [second], "both": [process.pid, second]}[receiver]:
            os.kill(pid, signal.SIGTERM)
        assert process.wait(timeout=100) == 143
    finally:
        process.kill()
    assert step(last_checkpoint(tmp_path / "runs/a")) > 0
