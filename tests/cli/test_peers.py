"""Two processes of a run end like one, however they end."""

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from process_group import CONTEXT

from datamodules import DigitsDataModule
from lit_gen.cli.app import main
from lit_gen.pretrained.resume import last_checkpoint

GAN = [
    "fit", "--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--trainer.limit_val_batches=0",
    "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.devices=2",
    "--trainer.log_every_n_steps=1", "--checkpoint.every_n_steps=100", "--evaluate.extractor=null",
    "--samples.num_samples=4", "--experiment=a",
]  # fmt: skip
RUNS = "runs/a"


class End(L.Callback):
    """Ends a run in one of its processes, or in all (-1), by an error or a signal.

    Args:
        how: ``error``, or the name of a signal.
        rank: the process.
        step: after so many batches.
        hook: where.
    """

    def __init__(self, how: str = "error", rank: int = 1, step: int = 5, hook: str = "on_train_batch_end") -> None:
        self.how, self.rank, self.step = how, rank, step
        setattr(self, hook, self.end)

    def end(self, trainer, *_, **__):
        if trainer.global_step != self.step or self.rank not in (-1, trainer.global_rank):
            return
        if self.how == "error":
            raise ArithmeticError("a user's mistake")
        os.kill(os.getpid(), signal.Signals[self.how])


class FailingData(DigitsDataModule):
    """The second process can't read its sixth batch."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        if self.trainer.training and self.trainer.global_step == 5 and self.trainer.global_rank == 1:
            raise OSError("picture 7 is unreadable")
        return super().on_after_batch_transfer(batch, dataloader_idx)


def member(folder, place, arguments):
    """One process of a group, as torchrun starts it."""
    os.environ.update(place)
    rank_zero_only.rank = int(place["RANK"])  # which is read when Lightning is imported
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    status: int | str | None = 1
    try:
        main(arguments)
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status or 0)


def statuses(folder, arguments, seconds=120):
    """With what two processes exit, and what they have said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "TORCHELASTIC_RUN_ID": "test"}
    place |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    members = [
        CONTEXT.Process(target=member, args=(folder, {**place, "RANK": rank, "LOCAL_RANK": rank}, arguments))
        for rank in ("0", "1")
    ]
    for process in members:
        process.start()
    try:
        deadline = time.monotonic() + seconds
        for process in members:
            process.join(max(0, deadline - time.monotonic()))
        return [process.exitcode for process in members], (folder / "log").read_text()
    finally:
        for process in members:
            process.kill()
            process.join()


def ending(*options, steps=100):
    callback = [f"--trainer.callbacks.{option}" for option in options]
    return [
        *GAN,
        "--data=DigitsDataModule",
        f"--trainer.max_steps={steps}",
        "--trainer.callbacks+=test_peers.End",
        *callback,
    ]


def step(folder):
    return torch.load(last_checkpoint(folder / RUNS), weights_only=True)["global_step"]


def test_an_error_of_one_is_told_once_and_ends_both_where_one_process_would_end(tmp_path, assert_same):
    ended, log = statuses(tmp_path, ending())
    assert ended == [1, 1]
    assert log.count("Traceback") == log.count("ArithmeticError: a user's mistake") == 1
    assert step(tmp_path) == 5
    # From there the run goes on as if nothing had happened.
    plain = [*GAN, "--data=DigitsDataModule", "--trainer.max_steps=8", "--ckpt_path=last", "--trust=test_peers"]
    plain += ["--trainer.callbacks=[]"]
    assert statuses(tmp_path, plain)[0] == [0, 0]
    (tmp_path / "straight").mkdir()
    assert statuses(tmp_path / "straight", plain)[0] == [0, 0]
    assert [path.name for path in tmp_path.glob(f"{RUNS}/*/checkpoints/.*")] == []
    assert len(list((tmp_path / "straight" / RUNS).iterdir())) == 1
    on, straight = (
        torch.load(last_checkpoint(folder / RUNS), weights_only=True) for folder in (tmp_path, tmp_path / "straight")
    )
    for key in ("state_dict", "optimizer_states", "lit_gen", "global_step"):
        assert_same(on[key], straight[key])


def test_who_waits_for_a_killed_process_says_so_and_ends(tmp_path):
    ended, log = statuses(tmp_path, ending("how=SIGKILL", "rank=1"))
    assert ended == [1, -9]
    assert log.count("lit-gen: error: process 1 of 2 is gone") == 1
    assert "go on with --ckpt_path runs/a/" in log
    assert "Traceback" not in log
    assert step(tmp_path) == 5


LOSSES = ["--model.generator_optimizer=torch.optim.SGD", "--model.generator_optimizer.lr=1e38"]
WAYS = {
    "the last step": (ending(steps=4), 0, "max_steps=4", 4),
    "an error in the first process": (ending("rank=0"), 1, "ArithmeticError: a user's mistake", 5),
    "an error in both": (ending("rank=-1"), 1, "ArithmeticError: a user's mistake", 5),
    "an error before the first step": (ending("hook=on_train_start", "step=0"), 1, "ArithmeticError: a user's", None),
    "an error in the set-up": (ending("hook=setup", "step=0"), 1, "ArithmeticError: a user's mistake", None),
    "an error in the data": ([*GAN, "--data=test_peers.FailingData"], 1, "OSError: picture 7 is unreadable", 5),
    "a step that is not finite": ([*ending(), *LOSSES], 2, "lit-gen: error: step 1: the generator's gradient", 2),
    "Ctrl-C in the terminal": (ending("how=SIGINT", "rank=-1"), 130, "Ctrl-C: finishing the batch", 5),
    "Ctrl-C before the first step": (ending("how=SIGINT", "rank=0", "hook=on_train_start", "step=0"), 130, "", None),
    "SIGTERM to the first": (ending("how=SIGTERM", "rank=0"), 143, "SIGTERM: finishing the batch", 5),
    "SIGTERM to the second": (ending("how=SIGTERM", "rank=1"), 143, "", 5),
    "SIGTERM to both": (ending("how=SIGTERM", "rank=-1"), 143, "SIGTERM: finishing the batch", 5),
    "SIGTERM before the first step": (ending("how=SIGTERM", "hook=on_train_start", "step=0"), 143, "", None),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_ending_ends_both_with_one_status_and_one_message(tmp_path, way):
    arguments, status, message, last = WAYS[way]
    ended, log = statuses(tmp_path, arguments)
    assert ended == [status, status], log
    assert log.count(message) == 1 or not message
    assert log.count("Traceback") == (status == 1), log
    assert log.count("lit-gen: error: ") == (status == 2), log
    if last is not None:
        assert step(tmp_path) == last


@pytest.mark.slow
def test_without_the_first_process_the_others_end(tmp_path):
    ended, log = statuses(tmp_path, ending("how=SIGKILL", "rank=0"))
    assert ended == [-9, 1]
    assert log.count("lit-gen: error: process 0 of 2 is gone") == 1
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "status"), [([], 1), (["how=SIGKILL", "rank=1"], 1), (["how=SIGINT", "rank=-1"], 130)]
)
def test_processes_that_the_trainer_starts(tmp_path, options, status):
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "lit_gen", *ending(*options)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == status
    assert done.stderr.count("Traceback") == (options == [])
    assert done.stderr.count("lit-gen: error: ") == ("how=SIGKILL" in options)
    assert step(tmp_path) >= 5
