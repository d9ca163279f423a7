import io
import re
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
from rich.console import Console

from datamodules import DigitsDataModule
from lit_gen import GAN
from lit_gen.callbacks import Evaluate, RunProgress
from lit_gen.networks import MLPDiscriminator, MLPGenerator


class Stop(L.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.step


def fit(progress, steps=40, command="fit", stop=None):
    warnings.simplefilter("ignore")
    module = GAN(
        (1, 8, 8), 4, generator=partial(MLPGenerator, width=8), discriminator=partial(MLPDiscriminator, width=8)
    )
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_model_summary=False, val_check_interval=20, check_val_every_n_epoch=None, log_every_n_steps=10,
        num_sanity_val_steps=0, callbacks=[Evaluate(num_samples=20, at_start=False), progress, Stop(stop)],
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


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(("step", "done"))]


def test_a_line_repeats_no_score(capsys):
    fit(RunProgress())
    told = [line for line in lines(capsys) if "val/fd_digits_20" in line]
    assert [line.split()[1] for line in told] == ["22/40", "step"]  # after the validation at 20, and "done: step 40"


def test_a_slow_run_is_told_by_the_clock(capsys, monkeypatch):
    now = iter(range(0, 10**6, 7))  # seconds, at every look
    monkeypatch.setattr("lit_gen.callbacks.progress.time.monotonic", lambda: float(next(now)))
    progress = RunProgress()
    fit(progress, steps=100_000, stop=12)
    told = [int(re.match(r"step (\d+)/100000", line)[1]) for line in lines(capsys) if line.startswith("step")]
    assert told == [5, 10]  # every 30 s of batches of 7 s, where a twentieth of the run are 5,000


def test_where_only_the_clock_ends_a_run_no_length_is_told(capsys, monkeypatch):
    monkeypatch.setattr("lit_gen.callbacks.progress.LINE_SECONDS", 0.0)
    fit(RunProgress(), steps=-1, stop=2)
    first, *_ = lines(capsys)
    assert re.match(r"step 1 after 0:\d\d min", first)


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


def test_a_short_session_says_why_it_has_no_values(capsys):
    fit(RunProgress(), steps=6)  # and every tenth is logged
    told = lines(capsys)[-1]
    assert re.fullmatch(r"done: step 6  6 steps of this session, and values are logged every 10", told), told
