"""One run, one folder, however many are started at once and wherever."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from process_group import CONTEXT

from lit_gen.cli.app import main
from lit_gen.cli.run_folder import RunFolder, check_experiment, is_first_process

GAN = [
    "fit", "--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--data=DigitsDataModule",
    "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
    "--trainer.max_steps=3", "--evaluate.extractor=null", "--experiment=a",
]  # fmt: skip
IN_THE_SAME_SECOND = """
import datetime, sys
from lit_gen.cli import run_folder
from lit_gen.cli.app import main

class Stopped(datetime.datetime):
    @classmethod
    def now(cls):
        return cls(2026, 1, 1)

run_folder.datetime = Stopped
main(sys.argv[1:])
"""


def mark(folder):
    return json.loads((Path(folder) / "run.json").read_text())


def life(parent, number):
    """One of many runs: it writes, and every third fails at its start."""
    folder = RunFolder.reserve(parent, "fit", "same-second")
    if number % 3 == 0:
        folder.remove()
        return None
    (folder.path / "content").write_text(str(number))
    return folder.path


def lives(parent, numbers):
    return [life(parent, number) for number in numbers]


@pytest.mark.parametrize("start", ["threads", "processes"])
def test_runs_of_one_second_have_a_folder_each_and_failed_ones_remove_only_their_own(tmp_path, start):
    parent = tmp_path / "runs" / "experiment"
    if start == "threads":
        with ThreadPoolExecutor(20) as pool:
            found = list(pool.map(lambda number: life(parent, number), range(60)))
    else:  # as on two machines that share a file system
        with CONTEXT.Pool(2) as pool:
            parts = pool.starmap(lives, [(parent, range(0, 60, 2)), (parent, range(1, 60, 2))])
        found = [path for part in parts for path in part]
    kept = [path for path in found if path is not None]
    assert len(set(kept)) == len(kept) == 40
    assert sorted(int((path / "content").read_text()) for path in kept) == [n for n in range(60) if n % 3]
    assert set(parent.iterdir()) == set(kept)


def test_a_failed_start_removes_the_folders_around_it_that_it_made(tmp_path):
    RunFolder.reserve(tmp_path / "a" / "b", "fit").remove()
    assert list(tmp_path.iterdir()) == []
    first, second = (RunFolder.reserve(tmp_path / "a", "fit") for _ in range(2))
    first.remove()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [second.path.name]


def test_three_runs_started_together_end_whole(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", IN_THE_SAME_SECOND, *GAN, "--seed_everything"]
    processes = [
        subprocess.Popen([*command, str(seed)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
        for seed in range(3)
    ]
    for process in processes:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err.decode()[-2000:]
    folders = sorted((tmp_path / "runs/a").iterdir())
    assert [folder.name for folder in folders] == [f"2026-01-01_00-00-00{end}" for end in ("", ".2", ".3")]
    seeds = []
    for folder in folders:
        assert (mark(folder)["kind"], mark(folder)["end"], mark(folder)["step"]) == ("fit", "finished", 3)
        checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["seed_everything"] == checkpoint["lit_gen"]["seed"]
        seeds.append(checkpoint["lit_gen"]["seed"])
    assert sorted(seeds) == [0, 1, 2]


def test_other_processes_are_told(tmp_path, monkeypatch):
    folder = RunFolder.of_this_process(tmp_path, "fit")
    for rank in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        with monkeypatch.context() as patch:
            patch.setenv(rank, "1")
            assert not is_first_process()
            assert RunFolder.of_this_process(tmp_path, "fit").path == folder.path
    folder.forget()
    assert is_first_process()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../b", ".", ""])
def test_an_experiment_stays_below_the_folder_for_runs(name):
    with pytest.raises(ValueError, match="--experiment"):
        check_experiment(name)
    assert check_experiment("a/b") == "a/b"


def test_an_experiment_elsewhere_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([*GAN, "--experiment=../../x"])
    assert "--experiment ../../x: a name for a folder below" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_reused_configuration_writes_nothing_into_the_old_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    main([*GAN, "--config", "tensorboard"])
    (old,) = Path("runs/a").iterdir()
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*")}
    assert yaml.safe_load((old / "config.yaml").read_text())["trainer"]["logger"][0]["init_args"]["save_dir"] is None
    # So does one that an earlier version has saved, which names the old run's folder.
    config = yaml.safe_load((old / "config.yaml").read_text())
    config["trainer"]["logger"][0]["init_args"]["save_dir"] = str(old)
    Path("earlier.yaml").write_text(yaml.safe_dump(config))
    for given, experiment in ((old / "config.yaml", "b"), ("earlier.yaml", "c")):
        main(["fit", "--config", str(given), "--experiment", experiment])
        (new,) = Path("runs", experiment).iterdir()
        assert [*new.glob("tensorboard/events.*")]
        assert {path: path.stat().st_mtime_ns for path in old.rglob("*")} == before


def test_a_folder_says_what_ran_in_it_and_how_it_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(GAN)
    (fit,) = Path("runs/a").iterdir()
    checkpoint = ["--ckpt_path", str(fit / "checkpoints/last.ckpt"), "--trainer.accelerator=cpu"]
    quiet = ["--trainer.enable_progress_bar=false", "--evaluate.extractor=null"]
    main(["test", *checkpoint, *quiet, "--experiment=b"])
    (test,) = Path("runs/b").iterdir()
    assert (mark(test)["kind"], mark(test)["end"]) == ("test", "finished")
    with pytest.raises(SystemExit):  # diverges in its second step
        main([*GAN, "--model.generator_optimizer=torch.optim.SGD", "--model.generator_optimizer.lr=1e38",
              "--trainer.max_steps=9", "--experiment=c"])  # fmt: skip
    (failed,) = Path("runs/c").iterdir()
    assert (mark(failed)["kind"], mark(failed)["end"]) == ("fit", "failed")
