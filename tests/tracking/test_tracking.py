"""Runs under Weights & Biases, by the real client without a network, and under TensorBoard."""

import builtins
import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from offline_run import OfflineRun

from lit_gen import from_pretrained
from lit_gen.cli.app import main
from lit_gen.pretrained.shipped import configs_folder
from lit_gen.tracking.loggers import TensorBoardRun, WandbRun

NETWORKS = ["--model.latent_dim=4", "--model.generator.width=8", "--model.discriminator.width=8"]
QUICK = ["--trainer.val_check_interval=2", "--trainer.log_every_n_steps=2", "--trainer.accelerator=cpu"]
QUICK += ["--evaluate.num_samples=20", "--samples.num_samples=4", "--trainer.enable_progress_bar=false"]
QUICK += ["--checkpoint.monitor=val/fd_digits_20"]
OWN_OF_WANDB = {"_step", "_timestamp", "_runtime", "trainer/global_step"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A machine without an account or a network, whose user answers no question; the working and home folder."""
    import wandb

    folder = tmp_path_factory.mktemp("alone")
    (folder / "home").mkdir()
    (folder / "work").mkdir()

    def refuse(*arguments, **options):
        raise AssertionError("asked a question, or the network")

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "XDG_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("NETRC", str(folder / "home" / ".netrc"))
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patch.setattr(builtins, "input", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.chdir(folder / "work")
        wandb.teardown()
        yield folder
        wandb.teardown()


@pytest.fixture(scope="module")
def runs(alone):
    """A fit of 4 steps, and its continuation to 6."""
    added = ["--config", "wandb", *QUICK]
    main(["fit", "--config", "wgan_gp_digits", *NETWORKS, *added, "--trainer.max_steps=4"])
    (first,) = (alone / "work/runs/wgan_gp_digits").iterdir()
    on = ["--ckpt_path", str(first / "checkpoints/last.ckpt"), "--new_folder=true"]
    main(["fit", *on, *added, "--trainer.max_steps=6"])
    (second,) = set((alone / "work/runs/wgan_gp_digits").iterdir()) - {first}
    return first, second


@pytest.fixture
def first(runs):
    return runs[0], OfflineRun(runs[0] / "wandb")


def scalars(rows):
    return {key for row in rows for key, value in row.items() if isinstance(value, (int, float)) and "/_" not in key}


def columns(folder):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return rows, set(rows[0])


def test_all_columns_of_the_csv_file_are_in_the_run(first):
    folder, run = first
    rows, names = columns(folder)
    of_media = {name for name in scalars(run.rows) if name.startswith(("samples/", "histograms/"))}
    assert names - {"step"} == scalars(run.rows) - OWN_OF_WANDB - of_media
    assert {"train/penalty", "val/fd_digits_20", "updates/generator", "images_seen"} < names
    last = {name: row[name] for row in rows for name in names if row[name]}
    assert float(last["val/fd_digits_20"]) == pytest.approx(run.rows[-1]["val/fd_digits_20"])


def test_scores_can_be_drawn_against_updates_and_images(first):
    folder, run = first
    for row in (row for row in run.rows if "val/fd_digits_20" in row):
        assert row["images_seen"] == 64 * row["updates/discriminator"]
        assert row["updates/generator"] == row["updates/discriminator"] // 2
    assert all(row["images_seen"] for row in columns(folder)[0] if row["val/fd_digits_20"])


def test_one_validation_is_one_row_with_picture_and_histograms(first):
    _, run = first
    (row,) = (row for row in run.rows if row["_step"] == 4)
    assert row["samples/_type"] == "images/separated"
    assert (run.files / row["samples/filenames"][0]).is_file()
    assert row["val/fd_digits_20"] > 0
    for kind in ("real", "fake"):
        assert row[f"histograms/{kind}_scores/_type"] == "histogram"
        assert sum(row[f"histograms/{kind}_scores/values"]) == 256


def test_the_resolved_configuration_and_the_codes_version(first):
    folder, run = first
    assert run.config["model"]["class_path"] == "lit_gen.WGANGP"
    assert run.config["model"]["init_args"]["penalty"]["init_args"]["weight"] == 10.0  # a default
    assert run.config["image_shape"] == [1, 8, 8]  # a link from the data
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert {key: run.config[key] for key in ("data", "trainer", "seed_everything")} == {
        key: saved[key] for key in ("data", "trainer", "seed_everything")
    }
    code = run.config["code"]
    assert code["lit_gen"] in (folder / "config.yaml").read_text().splitlines()[0]
    if (Path(__file__).parents[2] / ".git").exists():
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        assert code["commit"] == head.stdout.strip()


def test_the_final_model_is_an_artifact_with_its_card(first):
    folder, run = first
    (artifact,) = run.artifacts
    assert (artifact.type, artifact.name) == ("model", f"model-{run.id}")
    staged = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert {path.name: path.read_bytes() for path in (folder / "model").iterdir()} == {
        name: path.read_bytes() for name, path in staged.items()
    }
    card = (folder / "model/README.md").read_text()
    for told in ("- **data**: Digits", "- **steps**: 4", "val/fd_digits_20", "WGANGP"):
        assert told in card
    model = from_pretrained(folder / "model")
    checkpoint = from_pretrained(folder / "checkpoints/last.ckpt")
    z = torch.randn(3, 4)
    assert torch.equal(model.decode(z), checkpoint.decode(z))
    assert json.loads(artifact.metadata)["steps"] == 4


def test_a_resumed_run_is_the_same_one_and_its_steps_go_on(runs):
    before, after = (OfflineRun(folder / "wandb") for folder in runs)
    assert before.id == after.id
    steps = [row["_step"] for run in (before, after) for row in run.rows]
    assert steps == sorted(steps)
    assert [row["updates/discriminator"] for row in after.rows if "train/penalty" in row] == [6]
    assert torch.load(runs[1] / "checkpoints/last.ckpt", weights_only=True)["wandb_id"] == before.id


def test_the_id_survives_a_fit_that_is_not_tracked(runs, monkeypatch, alone):
    untracked = [*QUICK, "--trainer.max_steps=8", "--experiment=untracked"]
    main(["fit", "--ckpt_path", str(runs[1] / "checkpoints/last.ckpt"), *untracked])
    (folder,) = Path("runs/untracked").iterdir()
    assert not (folder / "wandb").exists()
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["wandb_id"] == OfflineRun(runs[0] / "wandb").id


def test_all_is_in_the_runs_folder_named_after_the_model(runs, alone):
    assert list((alone / "work").iterdir()) == [alone / "work/runs"]
    strangers = [path for path in (alone / "home").rglob("*") if path.is_file() and "matplotlib" not in str(path)]
    assert strangers == []
    assert not any(name in os.environ for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"))


def test_without_an_account_the_log_says_how_to_upload(alone, caplog, tmp_path):
    logger = WandbRun(save_dir=str(tmp_path / "a" / "b"))
    with caplog.at_level("INFO"):
        assert logger.experiment.offline
    (line,) = (record.message for record in caplog.records if "W&B" in record.message)
    assert line.startswith("W&B: not logged in: the run is kept offline; `wandb sync ")
    assert str(tmp_path / "a" / "b" / "wandb" / "offline-run-*") in line
    assert logger.experiment.name == "a/b"
    logger.finish()


def test_a_failed_start_leaves_nothing(alone, capsys):
    with pytest.raises(SystemExit) as stop:
        main(
            ["fit", "--config=gan_digits", "--config=wandb", *QUICK, "--trainer.precision=bf16-true", "--experiment=f"]
        )
    assert stop.value.code == 2
    assert "precision=bf16-true" in capsys.readouterr().err
    assert not Path("runs/f").exists()


def test_online_without_an_account_is_an_error(alone, tmp_path):
    with pytest.raises(ValueError, match="mode=online: not logged in"):
        WandbRun(mode="online", save_dir=str(tmp_path)).experiment  # noqa: B018
    assert "WANDB_CACHE_DIR" not in os.environ  # or a later run would keep its files there


def test_without_a_connection_the_run_is_kept_offline(alone, caplog, tmp_path, monkeypatch):
    import wandb

    init = wandb.init

    def unreachable(**options):
        if options["mode"] == "online":
            raise wandb.errors.CommError("no such host\nand much more")
        return init(**options)

    monkeypatch.setattr(wandb, "init", unreachable)
    monkeypatch.setattr("lit_gen.tracking.loggers.logged_in", lambda: True)
    logger = WandbRun(save_dir=str(tmp_path))
    with caplog.at_level("INFO"):
        assert logger.experiment.offline
    assert "W&B: no connection (no such host): the run is kept offline" in caplog.text
    logger.finish()
    with pytest.raises(ValueError, match=r"mode=online: no connection .*\(no such host\)"):
        WandbRun(mode="online", save_dir=str(tmp_path)).experiment  # noqa: B018


def test_the_x_axis_and_rows_of_a_second_training(alone, tmp_path):
    logger = WandbRun(mode="offline", x_axis="images_seen", save_dir=str(tmp_path))
    for step in (0, 5, 6, 0, 3):
        logger.log_metrics({"loss": float(step)}, step)
    logger.log_metrics({"score": 1.0}, 3)
    logger.finish()
    run = OfflineRun(tmp_path / "wandb")
    assert {metric.step_metric for metric in run.metrics if metric.glob_name == "*"} == {
        "images_seen",
        "trainer/global_step",
    }
    assert [metric.step_metric for metric in run.metrics if metric.glob_name == "*"][-1] == "images_seen"
    assert [(row["trainer/global_step"], row.get("loss")) for row in run.rows] == [
        (0, 0), (5, 5), (6, 6), (0, 0), (3, 3), (3, None),
    ]  # fmt: skip


def test_other_processes_log_nothing(alone, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    logger = WandbRun(mode="offline", save_dir=str(tmp_path))
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_hyperparams({"a": 1})
    logger.experiment.log({"loss": 1.0})
    logger.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_the_add_on_never_imports_the_client(tmp_path):
    code = (
        "from lit_gen.cli.app import main; main(['fit', '--config', 'gan_digits', '--trainer.fast_dev_run=true', "
        "'--trainer.accelerator=cpu']); import sys; assert not {'wandb', 'tensorboard'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# ---- TensorBoard


def test_tensorboard_gets_what_the_csv_file_gets(tmp_path, monkeypatch):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", "wgan_gp_digits", *NETWORKS, "--config", "tensorboard", *QUICK, "--trainer.max_steps=4"])
    (folder,) = Path("runs/wgan_gp_digits").iterdir()
    events = accumulators.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    rows, names = columns(folder)
    assert set(tags["scalars"]) == names - {"step"}
    distances = [float(row["val/fd_digits_20"]) for row in rows if row["val/fd_digits_20"]]
    assert [event.value for event in events.Scalars("val/fd_digits_20")] == pytest.approx(distances)
    assert tags["images"] == ["samples"]
    assert set(tags["histograms"]) == {"histograms/real_scores", "histograms/fake_scores"}
    assert {"config/text_summary", "code/text_summary"} <= set(tags["tensors"])


def test_a_missing_tensorboard_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'lit-gen\[tensorboard\]'"):
        TensorBoardRun()
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "wgan_gp_digits", "--config", "tensorboard", *QUICK])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "pip install 'lit-gen[tensorboard]'" in err
    assert "Traceback" not in err
    assert not Path("runs").exists()


# ---- sweeps


def test_the_sweeps_trials_are_accepted_by_the_command_line(capsys):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((Path(__file__).parents[2] / "scripts/experiments/sweep.yaml").read_text())
    assert sweep["metric"] == {"name": "val/fd_digits_1000", "goal": "minimize"}
    ends = [
        {name: {"value": (space["values"][i] if "values" in space else space[bound])}
         for name, space in sweep["parameters"].items()}
        for i, bound in ((0, "min"), (-1, "max"))
    ]  # fmt: skip
    for values in ends:
        flags = create_sweep_command_args({"args": values})["args"]
        program, *arguments = create_sweep_command(list(sweep["command"]))
        place = arguments.index("${args}")
        with pytest.raises(SystemExit) as stop:
            main([*arguments[:place], *flags, *arguments[place + 1 :], "--print_config"])
        out, err = capsys.readouterr()
        assert (program, stop.value.code) == ("lit-gen", 0), err
        config = yaml.safe_load(out)
        model = config["model"]["init_args"]
        assert model["n_critic"] == values["model.n_critic"]["value"]
        assert model["generator_optimizer"]["init_args"]["lr"] == values["model.generator_optimizer.lr"]["value"]
        assert config["trainer"]["logger"][0]["class_path"] == "lit_gen.tracking.loggers.WandbRun"
        assert config["evaluate"]["num_samples"] == 1000  # of the objective's name


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_an_add_on_says_what_it_is(name):
    assert (configs_folder() / f"{name}.yaml").read_text().startswith("# An add-on, given after the config of a model:")
