import io
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
from rich.console import Console

from datamodules import DigitsDataModule
from lit_gen import GAN
from lit_gen.callbacks import Evaluate, RunProgress
from lit_gen.networks import MLPDiscriminator, MLPGenerator


def fit(progress, steps=40, command="fit"):
    warnings.simplefilter("ignore")
    module = GAN(
        (1, 8, 8), 4, generator=partial(MLPGenerator, width=8), discriminator=partial(MLPDiscriminator, width=8)
    )
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_model_summary=False, val_check_interval=20, check_val_every_n_epoch=None, log_every_n_steps=10,
        num_sanity_val_steps=0, callbacks=[Evaluate(num_samples=20, at_start=False), progress],
    )  # fmt: skip
    getattr(trainer, command)(module, datamodule=DigitsDataModule())


def test_a_file_gets_plain_lines(capsys):
    fit(RunProgress())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("step", "done"))]
    assert len(lines) == 21
    assert lines[0].startswith("step 2/40")
    assert lines[-1].startswith("done: step 40")
    assert "discriminator_loss" in lines[-1]
    assert "val/fd_digits_20" in lines[-1]


@pytest.mark.parametrize("width", [60, 200])
def test_a_terminal_gets_a_bar_with_all_values(width):
    progress, screen = RunProgress(), io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=width)
    fit(progress)
    last = screen.getvalue().rpartition("40/40")[2]
    for name in ("generator_loss", "val/fd_digits_20", "val/classes_digits_20"):
        assert name in last


def test_prediction_has_a_bar():
    progress, screen = RunProgress(), io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=100)
    fit(progress, command="predict")
    assert "5/5" in screen.getvalue()  # 300 test images in batches of 64


def test_disabled_on_other_processes(capsys):
    progress = RunProgress()
    progress.disable()
    fit(progress)
    assert "step" not in capsys.readouterr().out


def test_scoring_has_a_bar_of_its_own():
    progress, screen = RunProgress(), io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=100)
    fit(progress, command="test")
    assert "test images" in screen.getvalue()
    assert "300/300" in screen.getvalue()
    assert "20/20" in screen.getvalue()
    assert progress._progress is None
    with progress.part("alone", 7) as advance:
        advance(7)
    assert "7/7" in screen.getvalue()
