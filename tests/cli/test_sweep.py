"""Sweeps: the space, the study with trials that only pretend to train, and one trial that does."""

import json
import re
import sys
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lit_gen.cli.commands.sweep import read_config, split
from lit_gen.cli.sweeping import study as studies
from lit_gen.cli.sweeping.space import dimension, dimensions
from lit_gen.cli.sweeping.study import Sweep, last_error

LR = dimension("model.optimizer.lr", "log 1e-4 1e-2")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("given", "kind", "values"), [
    ("log 1e-5 1e-2", "log", (1e-5, 1e-2)), (["uniform", 0, "0.5"], "uniform", (0.0, 0.5)),
    ("int 2 8", "int", (2, 8)), (["choice", "R1", None, True, 3], "choice", ("R1", "null", "true", "3")),
])  # fmt: skip
def test_a_distribution_as_words_or_in_yaml(given, kind, values):
    found = dimension("model.x", given)
    assert (found.option, found.kind, found.values) == ("model.x", kind, values)


@pytest.mark.parametrize("given", [
    "", "logg 1 2", "log 0 1", "log 2 1", "log 1", "log 1 2 3", "int 1.5 3", "uniform a b", "uniform nan 1", "choice",
    "choice a a", {"log": 1}, None, 3, ["log", [1], 2],
])  # fmt: skip
def test_what_is_no_distribution_is_refused_by_name(given):
    with pytest.raises(ValueError, match=r"--space\.model\.x"):
        dimension("model.x", given)


def test_options_are_on_top_of_what_a_file_gives():
    found = dimensions({"a.b": "int 1 2", "--c": ["log", "1e-3", 1]}, [("a.b", ["int", "3", "4"])])
    assert [(d.option, d.values) for d in found] == [("a.b", (3, 4)), ("c", (1e-3, 1.0))]


def test_words_are_told_apart():
    words = "gan_digits --trials 4 --model.latent_dim 8 --space.a uniform -1 1 --space.b=int 1 2 --config=wandb"
    config, own, space, of_fit = split(words.split())
    assert (config, own) == ("gan_digits", ["--trials", "4"])
    assert space == [("a", ["uniform", "-1", "1"]), ("b", ["int", "1", "2"])]
    assert of_fit == ["--model.latent_dim", "8", "--config=wandb"]


def test_a_config_may_hold_the_space():
    content = {"model": {"class_path": "VAE"}, "sweep": {"trials": 3, "space": {"model.latent_dim": "int 2 4"}}}
    Path("a.yaml").write_text(yaml.safe_dump(content))
    given, section = read_config("a.yaml")
    assert section == content["sweep"]
    assert json.loads(given[1]) == {"model": content["model"]}
    Path("b.yaml").write_text("sweep: {trails: 3}")
    with pytest.raises(ValueError, match=r"b\.yaml: sweep=.*accepted are trials, processes, space"):
        read_config("b.yaml")


def test_without_optuna_one_line_says_what_to_install(monkeypatch, capsys):
    from lit_gen.cli.commands.sweep import run

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit, match="2"):
        run(["vae_digits", "--space.model.latent_dim", "int", "2", "4"])
    assert capsys.readouterr().err == "lit-gen: error: sweep: needs the package optuna: pip install 'lit-gen[sweep]'\n"


def test_the_last_error_is_told(tmp_path):
    (tmp_path / "a").write_text("GPU available\nlit-gen: error: loss is nan at step 3\n\n")
    assert last_error(tmp_path / "a") == "loss is nan at step 3"
    assert last_error(tmp_path / "none") == "it has said nothing"


# ---- the study, whose trials' processes pretend to train


def pretend(connection, arguments, output):
    """Score the learning rate itself, at steps 10, 20 and 30; above 0.005 it diverges."""
    value = float(arguments[-1].partition("=")[2])
    Path(output).write_text("lit-gen: error: loss is nan at step 7\n")
    if value > 5e-3 or "fail" in arguments:
        sys.exit(2)
    folder = Path("runs") / f"{value}"
    folder.mkdir(parents=True)
    connection.send(("folder", str(folder)))
    for step in (10, 20, 30):
        connection.send(("score", step, value * (1 + step / 10), "val/fd"))
        if connection.recv() == "end":
            break


def pretend_briefly(connection, arguments, output):
    """End well, without a score."""
    connection.close()


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr(studies, "start", pretend)

    def sweep(space=(LR,), arguments=(), mode="min", configuration=None, **more):
        return Sweep(tmp_path / "runs" / "sweep", space, arguments, mode, configuration or {"a": 1}, **more)

    return sweep


def test_trials_are_counted_in_all_and_an_existing_study_goes_on(sweep):
    lines = []
    sweep(prune=False).run(3, 2, lines.append)
    sweep(prune=False).run(5, 2, lines.append)
    trials = sweep().study.trials
    assert len(trials) == len(lines) == 5
    assert len({trial.params["model.optimizer.lr"] for trial in trials}) == 5  # none is drawn twice
    for trial in trials:
        value = trial.params["model.optimizer.lr"]
        if value > 5e-3:
            assert (trial.state.name, trial.user_attrs["failed"]) == ("FAIL", "loss is nan at step 7")
        else:
            assert trial.value == pytest.approx(2 * value)  # the best of the run, after 10 steps
            assert trial.intermediate_values == pytest.approx({10: 2 * value, 20: 3 * value, 30: 4 * value})
    assert sum("failed: loss is nan at step 7" in line for line in lines) == sum(t.value is None for t in trials)


def test_a_trial_behind_the_median_is_ended(sweep):
    made = sweep()
    rates = [1e-3, 1.1e-3, 1.2e-3, 1.3e-3, 1.4e-3, 4e-3]
    made.space = [SimpleNamespace(option="x", draw=lambda trial: repr(rates[trial.number]))]
    lines = []
    made.run(6, 1, lines.append)
    assert [trial.state.name for trial in made.study.trials] == ["COMPLETE"] * 5 + ["PRUNED"]
    assert list(made.study.trials[-1].intermediate_values) == [10]
    assert "ended early" in lines[-1]


def test_where_all_fail_it_ends_in_words(sweep):
    made = sweep(arguments=["fail"])
    with pytest.raises(ValueError, match="the first 3 trials have all failed, the last one: loss is nan at step 7"):
        made.run(20, 1, lambda line: None)
    assert len(made.study.trials) == 3


def test_a_trial_that_was_never_evaluated_says_when_it_would_be(sweep, monkeypatch):
    monkeypatch.setattr(studies, "start", pretend_briefly)
    lines = []
    sweep().run(1, 1, lines.append)
    assert re.search("failed: it ended before its first evaluation.*--trainer.val_check_interval", lines[0])


def test_a_study_of_something_else_is_not_gone_on_with(sweep):
    sweep()
    for changed in ({"configuration": {"a": 2}}, {"space": [dimension("model.optimizer.lr", "log 1e-4 1")]}):
        with pytest.raises(ValueError, match="another --experiment begins another study"):
            sweep(**changed)


def test_a_trial_whose_sweep_was_killed_is_not_counted(sweep):
    made = sweep()
    trial = made.study.ask()
    trial.set_user_attr("sweep", {"host": studies.platform.node(), "process": 2**22 + 1})
    lines = []
    made.run(1, 1, lines.append)
    assert made.study.trials[0].state.name == "FAIL"
    assert len(made.counted()) == 1
    assert "its sweep was killed" in lines[0]


# ---- a trial that trains

TRAINING = ["fit", "--model=VAE", "--data=DigitsDataModule", "--trainer.accelerator=cpu", "--evaluate.num_samples=20",
            "--trainer.max_steps=6", "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false",
            "--checkpoint.monitor=fd"]  # fmt: skip


def test_a_trial_tells_its_scores_and_ends_when_it_is_told_to():
    from lit_gen.cli.app import main
    from lit_gen.cli.sweeping.trial import trial_cli

    ours, theirs = Pipe()
    ours.send("go on")
    ours.send("end")
    main(TRAINING, trial_cli(theirs))
    told = [ours.recv() for _ in range(3)]
    assert not ours.poll()
    (folder,) = Path("runs").glob("*/*")
    assert told[0] == ("folder", str(folder))
    assert [(step, name) for _, step, _, name in told[1:]] == [(1, "val/fd_digits_20"), (2, "val/fd_digits_20")]
    mark = json.loads((folder / "run.json").read_text())
    assert (mark["end"], mark["step"]) == ("finished", 2)
    assert (folder / "checkpoints/last.ckpt").is_file()
    assert "sweeping" not in (folder / "config.yaml").read_text()  # an ordinary run


def test_a_score_that_is_no_number_is_told(capsys, monkeypatch):
    from lit_gen.cli.app import main
    from lit_gen.cli.sweeping.trial import trial_cli

    nan = float("nan")
    monkeypatch.setattr("lit_gen.callbacks.evaluate.compute_scores", lambda names, _: dict.fromkeys(names, nan))
    ours, theirs = Pipe()
    with pytest.raises(SystemExit, match="2"):
        main(TRAINING, trial_cli(theirs))
    assert ours.recv()[0] == "folder"
    assert re.search("error: val/fd_digits_20 is nan at step 1: the trial can't be compared", capsys.readouterr().err)


@pytest.mark.slow
def test_the_command_from_options_to_the_table(capsys):
    pytest.importorskip("optuna")
    from lit_gen.cli.app import main

    space = ["--space.model.latent_dim", "int", "2", "8"]
    main(["sweep", "vae_digits", "--trials", "2", "--processes", "2", *space, *TRAINING[4:7]])
    out = capsys.readouterr().out
    assert len(re.findall(r"trial \d: model.latent_dim=\d: \d", out)) == 2
    assert "best fd_digits_20" in out
    assert len(list(Path("runs/sweep_vae_digits").glob("*/run.json"))) == 2
