"""The command line as its user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from lit_gen.cli.app import main
from lit_gen.pretrained.shipped import configs_folder

DIGITS = ["--data", "DigitsDataModule", "--data.batch_size", "16"]
SMALL = [
    "--model.latent_dim=4", "--model.generator=MLPGenerator", "--model.generator.width=8",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=8",
]  # fmt: skip
QUICK = ["--trainer.max_steps=4", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu"]
QUICK += [
    "--evaluate.num_samples=20",
    "--samples.num_samples=4",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=2",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_folder(experiment):
    (folder,) = (Path("runs") / experiment).iterdir()
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_fit_without_yaml_leaves_one_folder_and_nothing_else(elsewhere, capsys):
    main(["fit", "--model", "WGANGP", *DIGITS, *SMALL, *QUICK])
    assert files(run_folder("wgangp-digits")) == {
        "run.json", "config.yaml", "data.json", "metrics.csv", "hparams.yaml", "times.csv", "checkpoints/last.ckpt",
        "samples/step_000000.png", "samples/step_000002.png", "samples/step_000004.png",
        "histograms/real_scores.csv", "histograms/fake_scores.csv",
        "model/config.json", "model/model.safetensors", "model/README.md",
    }  # fmt: skip
    assert {path.name for path in elsewhere.iterdir()} == {"runs"}
    assert f"lit-gen: results in {run_folder('wgangp-digits')}" in capsys.readouterr().out
    metrics = (run_folder("wgangp-digits") / "metrics.csv").read_text()
    assert "val/fd_digits_20" in metrics
    assert "images_seen" in metrics


PAIRED = ["--model", "GAN", *SMALL, "--model.discriminator.minibatch=stddev", "--model.loss=RelativisticPairing"]
PAIRED += ["--model.penalty=R1R2", "--model.penalty.interval=2", "--model.penalty.correct_optimizer=true"]
PAIRED += ["--model.pack=2", "--model.instance_noise=0.1", "--model.ema_ramp_up=0.05", "--model.standing_batches=2"]


@pytest.mark.parametrize("options", [["--model", "WGANGP", *SMALL], ["--model", "VAE", "--model.latent_dim=4"], PAIRED])
def test_a_checkpoint_alone_is_enough(options, capsys):
    main(["fit", *options, *DIGITS, *QUICK, "--experiment", "a"])
    checkpoint = str(run_folder("a") / "checkpoints/last.ckpt")
    for command in ("validate", "test"):
        main([command, "--ckpt_path", checkpoint, *QUICK[2:]])
        assert "fd_digits_20" in capsys.readouterr().out
    assert len(list(Path("runs/a").iterdir())) == 3  # beside the training
    main(["predict", "--ckpt_path", checkpoint, "--trainer.limit_predict_batches=2", "--experiment", "predict"])
    pictures = sorted((run_folder("predict") / "predictions").iterdir())
    assert [picture.name for picture in pictures] == [f"{i:06d}.png" for i in range(32)]
    with Image.open(pictures[0]) as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")


def test_a_resumed_run_takes_the_users_options_and_announces_the_differences(capsys):
    main(["fit", "--model", "WGANGP", *DIGITS, *SMALL, *QUICK, "--experiment", "a"])
    checkpoint = str(run_folder("a") / "checkpoints/last.ckpt")
    options = ["--model.n_critic=2", "--model.generator_optimizer.lr=0.5", "--experiment", "b"]
    main(["fit", "--ckpt_path", checkpoint, *QUICK[1:], "--trainer.max_steps=6", *options])
    err = capsys.readouterr().err
    assert "model.n_critic=2 was given, the checkpoint has 5" in err
    assert "model.generator_optimizer.lr=0.5 was given, the checkpoint has 0.0001" in err
    assert err.count("was given") == 2
    stored = torch.load(run_folder("b") / "checkpoints/last.ckpt", weights_only=True)
    assert stored["global_step"] == 6
    assert stored["hyper_parameters"]["n_critic"] == 2
    assert [group["lr"] for state in stored["optimizer_states"] for group in state["param_groups"]] == [0.0001, 0.5]


def test_print_config_round_trips(capsys):
    arguments = ["fit", "--model", "WGANGP", *DIGITS, *SMALL, "--model.loss", "Hinge", "--model.penalty.weight", "3"]
    printed = []
    for given in (arguments, ["fit", "--config", "first.yaml"]):
        with pytest.raises(SystemExit) as stop:
            main([*given, "--print_config"])
        assert stop.value.code == 0
        printed.append(capsys.readouterr().out)
        Path("first.yaml").write_text(printed[-1])
    assert printed[0] == printed[1]
    model = yaml.safe_load(printed[0])["model"]["init_args"]
    assert model["loss"]["class_path"] == "lit_gen.losses.Hinge"
    assert model["penalty"]["init_args"]["weight"] == 3.0


def test_the_saved_configuration_runs_again():
    main(["fit", "--model", "WGAN", *DIGITS, *SMALL, *QUICK, "--experiment", "a"])
    config = run_folder("a") / "config.yaml"
    main(["fit", "--config", str(config), "--experiment", "b", "--trainer.default_root_dir", "runs"])
    a, b = (torch.load(run_folder(x) / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for x in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_help_lists_this_projects_classes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    for name in ("GAN", "WGAN", "WGANGP", "VAE", "DigitsDataModule", "ImageFolderDataModule"):
        assert name in out
    with pytest.raises(SystemExit):
        main(["fit", "--model.help", "GAN"])
    out = capsys.readouterr().out
    for name in ("DCGANGenerator", "ResNetDiscriminator", "Hinge", "GradientPenalty", "WeightClip", "n_critic"):
        assert name in out
    assert "torch.nn.Linear" not in out


GAN = ["fit", "--model", "GAN", *DIGITS]
DCGAN = ["--model.discriminator", "DCGANDiscriminator"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "--model", "WGANG", *DIGITS], ["model: no class WGANG", "WGANGP", "VAE"]),
        (["fit", "--model", "GAN", "--data", "Digit"], ["data: no class Digit", "DigitsDataModule"]),
        ([*GAN, "--model.loss", "Hing"], ["loss: no class Hing", "did you mean Hinge?", "Wasserstein"]),
        ([*GAN, "--model.penalty", "R3"], ["penalty: no class R3", "GradientPenalty, R1, R1R2, R2"]),
        ([*GAN, "--model.generator", "Gen"], ["generator: no class Gen", "DCGANGenerator"]),
        ([*GAN, "--model.generator_optimizer", "Adm"], ["generator_optimizer: no class Adm", "GANAdam"]),
        ([*GAN, "--model.n_criti", "3"], ["unknown option n_criti", "did you mean n_critic?", "latent_dim"]),
        ([*GAN, *DCGAN, "--model.discriminator.widht", "3"], ["unknown option widht", "did you mean width?"]),
        ([*GAN, *DCGAN, "--model.discriminator.norm", "x"], ["norm", "'batch', 'layer', 'instance', 'none'"]),
        ([*GAN, "--model.n_critic", "abc"], ["n_critic", "expected int", "abc"]),
        ([*GAN, "--model.n_critic", "0"], ["n_critic=0", "at least 1"]),
        ([*GAN, "--model.penalty", "R1", *DCGAN, "--model.discriminator.norm=batch"], ["R1", "batch norm", "'layer'"]),
        ([*GAN, "--model.generator=ResNetGenerator", "--data=MixtureDataModule"], ["ResNetGenerator", "(2,)"]),
        ([*GAN, "--data.batch_size", "5000"], ["batch_size=5000", "1197"]),
        ([*GAN, "--experimnt", "x"], ["--experimnt"]),
        ([*GAN, "--config", "nonsense"], ["nonsense", "shipped config", "wgan_gp_digits"]),
        ([*GAN, "--trainer.precision", "bf16-true"], ["precision=bf16-true", "bf16-mixed"]),
        (["fit", "--model", "GAN"], ["data"]),
        (["fit", "--model", "GAN", "--data", "ImageFolderDataModule", "--data.root", "no/where"], ["no/where"]),
        (["fit", "--model", "GAN", "--data", "ArrayDataModule", "--data.path", "no.npz"], ["no.npz"]),
        (["test", "--ckpt_path", "no.ckpt"], ["no.ckpt", "no such file"]),
        (["test", "--ckpt_path", "bad.ckpt"], ["bad.ckpt", "not a whole checkpoint"]),
        (["test", "--ckpt_path", "other.ckpt"], ["other.ckpt", "not a checkpoint of lit-gen"]),
        (["paint"], ["paint", "fit"]),
        ([], ["fit", "validate"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(arguments, expected, capsys, elsewhere):
    Path("bad.ckpt").write_bytes(b"PK\x03\x04 cut off")
    torch.save({"weights": torch.zeros(2)}, "other.ckpt")
    before = files(elsewhere)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    err = [line for line in capsys.readouterr().err.splitlines() if "lit-gen: error:" in line]
    assert stop.value.code not in (0, None)
    assert len(err) == 1
    for text in expected:
        assert text in err[0]
    assert files(elsewhere) == before  # no half-written run


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named(workers, capsys, elsewhere):
    Path("photos").mkdir()
    for i in range(40):
        path = Path(f"photos/{i:02d}.png")
        if i % 4:
            Image.new("RGB", (20, 20), (i, 0, 0)).save(path)
        else:
            path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    folder = ["--data", "ImageFolderDataModule", "--data.root=photos", "--data.image_size=16", "--data.batch_size=32"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--model", "GAN", *folder, f"--data.num_workers={workers}", *SMALL, *QUICK])
    assert stop.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "lit-gen: error" in line)
    assert "photos/" in line
    assert ".png: not a readable image" in line
    assert not Path("runs").exists() or not files("runs")


def test_non_finite_data_is_named_and_leaves_no_run(capsys, elsewhere):
    import numpy as np

    points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    points[17, 1] = np.nan
    np.save("points.npy", points)
    with pytest.raises(SystemExit):
        main(["fit", "--model", "GAN", "--data", "ArrayDataModule", "--data.path", "points.npy", *QUICK])
    err = capsys.readouterr().err
    assert "points.npy" in err
    assert "17" in err
    assert not Path("runs").exists() or not files("runs")


def test_divergence_is_reported_without_a_traceback(capsys):
    options = ["--model.generator_optimizer", "torch.optim.SGD", "--model.generator_optimizer.lr=1e30"]
    options += ["--model.discriminator_optimizer", "torch.optim.SGD", "--model.discriminator_optimizer.lr=1e30"]
    with pytest.raises(SystemExit) as stop:
        main([*GAN, *SMALL, *QUICK[1:], "--trainer.max_steps=50", *options, "--experiment=a"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "lit-gen: error" in err
    assert "finite" in err
    assert "Traceback" not in err


def test_data_of_another_shape_than_the_checkpoints_is_refused(capsys):
    main(["fit", "--model", "GAN", *DIGITS, *SMALL, *QUICK, "--experiment", "a"])
    checkpoint = str(run_folder("a") / "checkpoints/last.ckpt")
    with pytest.raises(SystemExit):
        main(["test", "--ckpt_path", checkpoint, "--data", "MixtureDataModule"])
    assert "image_shape" in capsys.readouterr().err


def test_shipped_configs_are_found_by_name(capsys):
    for name in ("wgan_gp_digits", "wgan_gp_digits.yaml", str(configs_folder() / "wgan_gp_digits.yaml")):
        with pytest.raises(SystemExit) as stop:
            main(["fit", "--config", name, "--print_config"])
        assert stop.value.code == 0
        assert "WGANGP" in capsys.readouterr().out


def test_two_devices_from_the_command_line(elsewhere):
    command = [sys.executable, "-m", "lit_gen", "fit", "--model", "GAN", *DIGITS, *SMALL, *QUICK]
    command += ["--trainer.devices=2", "--experiment=two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    main(["fit", "--model", "GAN", *DIGITS, *SMALL, *QUICK, "--experiment=one"])
    one, two = (
        torch.load(run_folder(name) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    assert {path.name for path in elsewhere.iterdir()} == {"runs"}
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=0, atol=1e-5)
