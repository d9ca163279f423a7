"""A run that goes on is one run: one folder, one curve, whoever has stopped it and wherever its folder is by now."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from process_group import CONTEXT

from lit_gen.cli.app import main
from lit_gen.cli.run_folder import LOCK
from lit_gen.files import hold
from lit_gen.tracking.metrics_file import MetricsFile, add_rows, cut_rows
from lit_gen.tracking.runs import METRICS, TIMES

OPTIONS = [
    "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1",
]  # fmt: skip
SMALL = [
    "--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--data=DigitsDataModule",
    "--evaluate.num_samples=20", "--samples.num_samples=2", "--trainer.val_check_interval=4",
    "--checkpoint.every_n_steps=4", "--checkpoint.monitor=fd", "--trainer.limit_val_batches=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Eight steps, in a folder of their own."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", *SMALL, *OPTIONS, "--trainer.max_steps=8", "--experiment=a"])
    (run,) = folder.glob("runs/a/*")
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Twelve steps without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", *SMALL, *OPTIONS, "--trainer.max_steps=12"])
    (run,) = folder.glob("runs/*/*")
    return run


@pytest.fixture
def first(trained):
    """A copy of its folder."""
    return Path(shutil.copytree(trained, Path("runs/a") / trained.name))


def goes_on(folder, *options, steps=12, name="last.ckpt"):
    path = str(folder / "checkpoints" / name)
    main(["fit", "--ckpt_path", path, *OPTIONS, f"--trainer.max_steps={steps}", *options])


def rows(folder):
    """Of metrics.csv, without what the clock measures."""
    with (folder / "metrics.csv").open(newline="") as file:
        found = [{k: v for k, v in row.items() if v and k != "evaluate/share"} for row in csv.DictReader(file)]
    return found


def mark(folder):
    return json.loads((folder / "run.json").read_text())


def killed(folder):
    """A run's folder as a kill after eight steps leaves it whose last checkpoint is of the fourth."""
    last = folder / "checkpoints/last.ckpt"
    last.with_name("previous.ckpt").rename(last)
    told = mark(folder)
    told["end"] = None
    (folder / "run.json").write_text(json.dumps(told))
    with (folder / METRICS).open("a") as file:
        file.write("3,cut sho")


@pytest.mark.parametrize("end", ["finished", "killed"])
def test_the_curve_is_that_of_an_uninterrupted_run(first, whole, end, capsys, assert_same):
    if end == "killed":
        killed(first)
    goes_on(first, "--config", "tensorboard")
    assert f"going on in {first}, from step {4 if end == 'killed' else 8}" in capsys.readouterr().err
    assert rows(first) == rows(whole)
    (name,) = {path.name for path in (first / "histograms").iterdir()} - {"fake_scores.csv"}
    assert (first / "histograms" / name).read_text() == (whole / "histograms" / name).read_text()
    assert [*Path("runs/a").iterdir()] == [first]
    ends = [torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (first, whole)]
    for key in ("state_dict", "optimizer_states", "lit_gen"):
        assert_same(*(checkpoint[key] for checkpoint in ends))


def test_the_folder_tells_its_sessions_and_its_present_configuration(first):
    run = mark(first)["run"]
    goes_on(first, "--model.generator_optimizer.lr=0.01")
    goes_on(first, steps=16)
    told = mark(first)
    assert (told["end"], told["from_step"], told["step"], told["run"]) == ("finished", 12, 16, run)
    assert [(s["end"], s["step"]) for s in told["sessions"]] == [("finished", 8), ("finished", 12)]
    assert told["sessions"][1]["changes"] == ["model.generator_optimizer.lr=0.01 was given, the checkpoint has 0.0002"]
    config = yaml.safe_load((first / "config.yaml").read_text())
    assert (config["trainer"]["max_steps"], config["experiment"]) == (16, "a")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--new_folder=true"], "--new_folder true"),
        (["--experiment=b"], "--experiment b asks for it"),
        (["--trainer.default_root_dir=others"], "--trainer.default_root_dir others asks for it"),
    ],
)
def test_a_new_folder_is_asked_for(first, options, reason, capsys):
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.name != LOCK}
    goes_on(first, *options)
    err = capsys.readouterr().err
    assert "goes on in a new folder" in err
    assert reason in err
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.name != LOCK} == before
    (new,) = [path for path in Path().glob("*/*/*") if path != first]
    assert new.parent.name == ("b" if "b" in options[0] and "experiment" in options[0] else "a")
    assert next(row["step"] for row in rows(new)) == "8"


def test_the_runs_own_experiment_may_be_named(first):
    goes_on(first, "--experiment=a")
    assert mark(first)["step"] == 12


def test_a_moved_folder_is_its_runs_and_a_copied_checkpoint_is_no_ones(first, capsys):
    Path("archive").mkdir()
    moved = Path("archive/best one")
    first.rename(moved)
    goes_on(moved)
    assert mark(moved)["step"] == 12
    shutil.copy(moved / "checkpoints/last.ckpt", "mine.ckpt")
    main(["fit", "--ckpt_path=mine.ckpt", *OPTIONS, "--trainer.max_steps=13"])
    assert "new folder: the checkpoint does not lie in the folder of its run" in capsys.readouterr().err
    (other,) = Path("runs/gan-digits").iterdir()
    (other / "checkpoints/last.ckpt").rename(other / "checkpoints/own.ckpt")
    shutil.copy("mine.ckpt", other / "checkpoints/last.ckpt")
    goes_on(other, steps=14)
    assert "does not lie in the folder of its run" in capsys.readouterr().err
    assert (mark(moved)["step"], mark(other)["step"]) == (12, 13)


def test_what_was_trained_since_a_checkpoint_stays(first, capsys):
    goes_on(first, name="previous.ckpt", steps=6)
    assert f"{first} holds what was trained up to step 8" in capsys.readouterr().err
    assert (len([*Path("runs/a").iterdir()]), mark(first)["step"]) == (2, 8)
    last = first / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])  # damaged: the one before it is the run's end
    goes_on(first, name="previous.ckpt")
    assert (mark(first)["from_step"], mark(first)["step"]) == (4, 12)


def test_a_start_that_fails_leaves_the_run_as_it_was(first, capsys):
    kept = {name: (first / name).read_bytes() for name in ("run.json", "config.yaml", METRICS)}
    with pytest.raises(SystemExit):
        goes_on(first, "--trainer.precision=bf16-true")
    assert "precision=bf16-true" in capsys.readouterr().err
    assert {name: (first / name).read_bytes() for name in kept} == kept
    goes_on(first)
    assert mark(first)["step"] == 12


def contend(path, answers, done):
    lock = hold(path)
    answers.send(lock is not None)
    done.recv()


def test_of_two_that_go_on_at_once_one_gets_a_new_folder(first, capsys):
    (held, held_there), (done_there, done) = CONTEXT.Pipe(False), CONTEXT.Pipe(False)
    other = CONTEXT.Process(target=contend, args=(first / LOCK, held_there, done_there), daemon=True)
    other.start()
    try:
        assert held.recv()
        goes_on(first)
        assert f"a new folder: another process writes to {first}" in capsys.readouterr().err
        assert mark(first)["step"] == 8
    finally:
        done.send(None)
        other.join()
    goes_on(first)
    assert mark(first)["step"] == 12


def test_a_lock_is_had_by_one_process_and_ends_with_it(tmp_path):
    pipes = [(CONTEXT.Pipe(False), CONTEXT.Pipe(False)) for _ in range(3)]
    processes = [CONTEXT.Process(target=contend, args=(tmp_path / "lock", a[1], d[0]), daemon=True) for a, d in pipes]
    for process in processes:
        process.start()
    answers = [a[0].recv() for a, _ in pipes]
    assert sum(answers) == 1
    assert hold(tmp_path / "lock") is None
    processes[answers.index(True)].kill()
    processes[answers.index(True)].join()
    with hold(tmp_path / "lock"):
        pass
    for (_, d), alive in zip(pipes, answers, strict=True):
        if not alive:
            d[1].send(None)
    for process in processes:
        process.join()


# ---- the file


def test_a_file_goes_on_with_other_columns_and_a_repeated_validation_once(tmp_path):
    first = MetricsFile(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": float(step), "updates/vae": step}, step)
    first.log_metrics({"val/fd": 1.0, "updates/vae": 3}, 3)
    first.log_metrics({"train/loss": 9.0, "updates/vae": 4}, 4)
    second = MetricsFile(tmp_path)
    second.go_on_from(4)
    second.log_metrics({"val/fd": 2.0, "updates/vae": 3}, 3)
    second.log_metrics({"train/loss": 4.0, "train/new": 1.0, "updates/vae": 4}, 4)
    with (tmp_path / METRICS).open(newline="") as file:
        found = [(row["step"], row["train/loss"], row["val/fd"], row["train/new"]) for row in csv.DictReader(file)]
    assert found == [("0", "0.0", "", ""), ("1", "1.0", "", ""), ("2", "2.0", "", ""), ("3", "3.0", "", ""),
                     ("3", "", "2.0", ""), ("4", "4.0", "", "1.0")]  # fmt: skip


def test_rows_of_a_step_are_there_once(tmp_path):
    path = tmp_path / "a" / "h.csv"
    for step, value in ((2, 1), (4, 2), (6, 3), (4, 5)):
        add_rows(path, ["step", "low"], [[step, value], [step, value]])
    assert path.read_text().split() == ["step,low", "2,1", "2,1", "4,5", "4,5"]
    cut_rows(path, 4)
    assert path.read_text().split() == ["step,low", "2,1", "2,1"]
    cut_rows(tmp_path / "none.csv", 4)
    assert not (tmp_path / "none.csv").exists()


def test_other_processes_cut_nothing(tmp_path, monkeypatch):
    MetricsFile(tmp_path).log_metrics({"train/loss": 1.0}, 3)
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    MetricsFile(tmp_path).go_on_from(1)
    assert len((tmp_path / METRICS).read_text().split()) == 2
    assert len((tmp_path / TIMES).read_text().split()) == 2
    assert sorted(os.listdir(tmp_path)) == [METRICS, TIMES]


def test_steps_that_lie_behind_are_refused(first, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--ckpt_path", str(first / "checkpoints/last.ckpt"), *OPTIONS, "--trainer.max_steps=7"])
    assert stop.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert "trainer.max_steps=7: " in line
    assert "last.ckpt has been trained for 8 steps already; max_steps counts all of them, so give more" in line


def test_a_run_that_ends_before_its_first_evaluation_is_evaluated_at_its_end(caplog):
    def evaluated(*options):
        caplog.clear()
        main(["fit", *SMALL, "--trainer.val_check_interval=500", *OPTIONS, *options, "--experiment=short"])
        run = max(Path("runs/short").iterdir())
        rows = list(csv.DictReader((run / METRICS).open()))
        return [int(row["step"]) for row in rows if row.get("val/fd_digits_20")], caplog.text

    steps, told = evaluated("--trainer.max_steps=3")
    assert steps == [0, 2]
    assert "The run ends after 3 batches, before trainer.val_check_interval=500, and is evaluated at its end." in told
    assert (max(Path("runs/short").iterdir()) / "checkpoints/best.ckpt").exists()
    config = yaml.safe_load((max(Path("runs/short").iterdir()) / "config.yaml").read_text())
    assert config["trainer"]["val_check_interval"] == 500  # with which the run goes on


@pytest.mark.parametrize(("interval", "steps"), [(3, [0, 2, 5, 7]), (4, [0, 3, 7]), (8, [0, 7])])
def test_the_last_weights_are_evaluated_once(interval, steps, caplog):
    experiment = f"every-{interval}"
    options = [f"--trainer.val_check_interval={interval}", "--trainer.max_steps=8", f"--experiment={experiment}"]
    main(["fit", *SMALL, *OPTIONS, *options])
    rows = list(csv.DictReader((max(Path(f"runs/{experiment}").iterdir()) / METRICS).open()))
    assert [int(row["step"]) for row in rows if row.get("val/fd_digits_20")] == steps
    told = f"The run's 8 batches are no multiple of trainer.val_check_interval={interval}: "
    assert (f"{told}it is evaluated at its end, too." in caplog.text) == (interval == 3)


def test_the_experiments_name_alone_finds_its_weights(first, whole, monkeypatch):
    """`--ckpt_path last --experiment NAME` goes on from that checkpoint, and doesn't only say so."""
    monkeypatch.chdir(first.parents[2])
    main(["fit", "--ckpt_path", "last", "--experiment", "a", *OPTIONS, "--trainer.max_steps=12"])
    (run,) = Path("runs/a").iterdir()
    states = [torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for folder in (run, whole)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    weights = states[0]["generator.layers.0.weight"]
    seen = []
    monkeypatch.setattr("lit_gen.modules.GAN.on_test_start", lambda self: seen.append(self.generator.layers[0].weight))
    main(["test", "--ckpt_path", "last", "--experiment", "a", *OPTIONS])
    assert torch.equal(seen[0], weights)
