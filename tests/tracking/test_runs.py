"""Folders of runs read back: against values worked out by hand, and a run that was really made."""

import csv
import json
import math
import statistics
from pathlib import Path

import pytest
import yaml

from lit_gen.cli.app import main
from lit_gen.tracking.comparison import chosen_scores, differences, grouped, spread
from lit_gen.tracking.runs import find_runs, read_run
from lit_gen.tracking.score_names import of_kind

FD = "val/fd_digits_1000"


def configuration(seed=0, lr=0.1, penalty=None, experiment="a", **more):
    arguments = {"optimizer": {"class_path": "lit_gen.optimizers.GANAdam", "init_args": {"lr": lr}}, "penalty": penalty}
    model = {"class_path": "lit_gen.GAN", "init_args": arguments}
    checkpoint = {"monitor": "fd", "mode": "min"}
    return {"seed_everything": seed, "model": model, "checkpoint": checkpoint, "experiment": experiment, **more}


def make(folder, rows, end="finished", kind="fit", times=("10:00:00", "10:01:30"), **config):
    folder.mkdir(parents=True)
    started, ended = (f"2026-01-01T{time}+00:00" for time in times)
    mark = {"kind": kind, "end": end, "started": started, "step": int(max(r["step"] for r in rows)) + 1}
    (folder / "run.json").write_text(json.dumps({**mark, **({"ended": ended} if end else {})}))
    (folder / "config.yaml").write_text(f"# lit_gen 0.1.0\n{yaml.safe_dump(configuration(**config))}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def curve(*values, first=0):
    return [{"step": first + i, "images_seen": 8 * (first + i), FD: value} for i, value in enumerate(values)]


def test_a_run_is_read_back(tmp_path):
    run = read_run(make(tmp_path / "a", curve(3.0, 9.0, 5.0, "nan", 7.0), seed=4))
    assert (run.kind, run.end, run.steps, run.seconds, run.seed) == ("fit", "finished", 5, 90.0, 4)
    assert (run.monitor, run.mode, run.final(FD), run.best(FD)) == (FD, "min", 7.0, 5.0)  # 3 is the untrained model's
    assert run.final("val/none") is None
    assert run.version == "lit_gen 0.1.0"


def test_a_run_without_an_end_is_running_and_one_of_an_earlier_version_needs_no_mark(tmp_path):
    running = make(tmp_path / "a", curve(1.0, 2.0), end=None)
    assert read_run(running).end == "running"
    (running / "run.json").unlink()
    earlier = read_run(running)
    assert (earlier.kind, earlier.end, earlier.steps, earlier.seconds) == ("fit", "finished", 2, None)


def test_seeds_are_one_row_and_other_options_another(tmp_path):
    for seed, value in enumerate((4.0, 5.0, 9.0)):
        make(tmp_path / f"runs/seed{seed}/x", curve(50.0, value), seed=seed, experiment=f"seed{seed}")
    make(tmp_path / "runs/b/x", curve(50.0, 2.0), lr=0.2)
    make(tmp_path / "runs/b/y", curve(50.0, 3.0), lr=0.2, end="failed")
    make(tmp_path / "runs/b/z", curve(50.0, 3.0), lr=0.2, kind="test")
    runs, left_out = find_runs([tmp_path / "runs"])
    first, second, third = grouped(runs)  # the best first
    assert left_out == {"test": 1}
    assert [len(group.runs) for group in (first, second, third)] == [1, 1, 3]
    assert [group.end for group in (first, second, third)] == ["finished", "failed", "finished"]
    found = third.final(FD)
    assert (found.mean, found.count) == (6.0, 3)
    assert found.deviation == pytest.approx(statistics.stdev([4, 5, 9]))
    assert differences([first, second, third]) == {"model.optimizer.lr": [0.2, 0.2, 0.1]}


def test_arguments_of_classes_that_only_one_has_are_told_by_the_class(tmp_path):
    def penalty(name, weight):
        return {"class_path": f"lit_gen.losses.{name}", "init_args": {"weight": weight}}

    for i, given in enumerate((None, penalty("R1", 1.0), penalty("R2", 1.0))):
        make(tmp_path / str(i), curve(1.0, float(i)), penalty=given)
    groups = grouped(find_runs([tmp_path])[0])
    assert list(differences(groups)) == ["model.penalty"]
    make(tmp_path / "3", curve(1.0, 3.0), penalty=penalty("R2", 2.0))
    groups = grouped(find_runs([tmp_path])[0])
    assert differences(groups)["model.penalty.weight"] == [None, 1.0, 1.0, 2.0]


def test_the_parts_of_a_run_that_went_on_are_one_run(tmp_path):
    first = make(tmp_path / "runs/a/1", curve(9.0, 8.0, 2.0, 99.0), times=("10:00:00", "10:00:10"))
    again = {"first": 3, "times": ("11:00:00", "11:00:30")}
    last = make(
        tmp_path / "runs/a/2", curve(6.0, 5.0, first=again["first"]), times=again["times"],
        ckpt_path="runs/a/1/checkpoints/last.ckpt",
    )  # fmt: skip
    ((run,), _) = find_runs([tmp_path])
    assert run.folder == last
    assert [row[FD] for row in run.rows] == [9.0, 8.0, 2.0, 6.0, 5.0]
    assert (run.seconds, run.steps, run.best(FD)) == (40.0, 5, 2.0)
    (last / "config.yaml").write_text("ckpt_path: runs/a/2/checkpoints/last.ckpt\n")  # no chain without an end
    assert read_run(last).seconds == 30.0
    assert read_run(first).seconds == 10.0


@pytest.mark.parametrize(("name", "content", "message"), [
    ("run.json", "{", "run.json: damaged"), ("run.json", "[" * 5000, "run.json: damaged"), ("run.json", "3", "damaged"),
    ("config.yaml", "a: [", "config.yaml: damaged"), ("config.yaml", "- 1", "config.yaml: damaged"),
])  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    folder = make(tmp_path / "a", curve(1.0))
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        find_runs([tmp_path])


def test_kinds_of_scores():
    names = [
        "val/fd_digits_1000",
        "val/fd_infinity_digits_1000",
        "val/fd_mnist_10k_train",
        "val/nelbo_nats",
        "x/fd_a_1",
    ]
    assert of_kind("fd", names)[0] == "val/fd_digits_1000"
    assert "val/fd_mnist_10k_train" in of_kind("fd", names)
    assert of_kind("fd", ["val/fid_inception_50k"]) == ["val/fid_inception_50k"]
    assert of_kind("nelbo", names) == []


def test_scores_are_chosen_by_name_and_kind(tmp_path):
    make(tmp_path / "a", [{"step": 1, "test/b": 1.0, "val/nelbo_nats": 2.0, FD: 3.0, "train/loss": 4.0}])
    groups = grouped(find_runs([tmp_path])[0])
    assert chosen_scores(groups) == [FD, "val/nelbo_nats", "test/b"]
    assert chosen_scores(groups, ["nelbo_nats", "fd", "test/b"]) == ["val/nelbo_nats", FD, "test/b"]
    with pytest.raises(ValueError, match="--metrics kid: no run has such a score; there are"):
        chosen_scores(groups, ["kid"])


def test_values_that_are_no_numbers_are_not_hidden():
    assert math.isnan(spread([1.0, math.nan]).mean)
    assert spread([1.0, None]).count == 1
    assert spread([None]) is None


@pytest.fixture
def two_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--model", "VAE", "--data", "DigitsDataModule", "--checkpoint.monitor=fd", "--evaluate.num_samples=20"]
    options += ["--trainer.max_steps=2", "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false"]
    for seed in "01":
        main(["fit", *options, "--seed_everything", seed, "--trainer.accelerator=cpu"])


def test_the_command_reads_what_runs_write(two_seeds, capsys):
    capsys.readouterr()
    main(["compare", "runs", "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    values, best = [], []
    for path in sorted(Path("runs").glob("*/*/metrics.csv")):
        with path.open() as file:
            trained = [float(r["val/fd_digits_20"]) for r in csv.DictReader(file) if r["val/nelbo_nats"]]
        values.append(trained[-1])
        best.append(min(trained))
    assert row["n"] == 2
    assert row["scores"]["val/fd_digits_20"]["last"]["mean"] == pytest.approx(statistics.fmean(values))
    assert row["scores"]["val/fd_digits_20"]["best"]["std"] == pytest.approx(statistics.stdev(best))
    main(["compare", *map(str, Path("runs").glob("*/*")), "--metrics", "fd"])
    header, line, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:7] == ["row", "n", "end", "best", "fd_digits_20", "last", "fd_digits_20"]
    assert line.split()[:3] == ["1", "2", "finished"]
    assert f"{statistics.fmean(best):.4g} ± {statistics.stdev(best):.2g}" in line


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "compare: RUN is required"), (["none"], "none: there is no such folder"),
    (["."], "neither a run's folder nor one that holds runs"),
])  # fmt: skip
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *arguments])
    assert message in capsys.readouterr().err
