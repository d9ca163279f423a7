"""A run goes on with its own options, and with those that are changed on purpose."""

from pathlib import Path

import pytest
import torch
import yaml

from lit_gen.cli.app import main

SMALL = [
    "--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--data=DigitsDataModule",
]  # fmt: skip
OPTIONS = [
    "--seed_everything=7", "--trainer.precision=bf16-mixed", "--trainer.val_check_interval=3", "--trainer.max_steps=4",
    "--trainer.log_every_n_steps=1", "--trainer.callbacks=GameMonitor", "--checkpoint.monitor=kid",
    "--checkpoint.every_n_steps=2", "--evaluate.scores=kid", "--evaluate.num_samples=20", "--samples.num_samples=2",
    "--faults.policy=skip",
]  # fmt: skip
MACHINE = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
LINEAR = '{"class_path": "torch.optim.lr_scheduler.LinearLR", "init_args": {"total_iters": 10}}'
STEPS = '{"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2, "gamma": 0.5}}'


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Four steps of a run with options of its own, and a schedule."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", *SMALL, *OPTIONS, *MACHINE, f"--model.generator_scheduler={LINEAR}", "--experiment=a"])
    (run,) = folder.glob("runs/a/*")
    return run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def goes_on(first, *options, steps=8):
    main(["fit", "--ckpt_path", str(first / "checkpoints/last.ckpt"), f"--trainer.max_steps={steps}", *MACHINE,
          "--experiment=b", *options])  # fmt: skip
    (run,) = Path("runs/b").iterdir()
    return yaml.safe_load((run / "config.yaml").read_text()), torch.load(
        run / "checkpoints/last.ckpt", weights_only=True
    )


def test_the_checkpoint_alone_brings_all_options(first, capsys):
    config, checkpoint = goes_on(first)
    before = yaml.safe_load((first / "config.yaml").read_text())
    assert config["trainer"].pop("max_steps") == 8
    del before["trainer"]["max_steps"]
    for key in ("seed_everything", "trainer", "model", "data", "checkpoint", "samples", "evaluate", "faults", "speed"):
        assert config[key] == before[key], key
    assert "GameMonitor" in str(config["trainer"]["callbacks"])
    assert checkpoint["lit_gen"]["seed"] == 7
    assert "was given" not in capsys.readouterr().err


def test_given_options_go_on_top_and_are_told(first, capsys):
    Path("longer.yaml").write_text("trainer:\n  val_check_interval: 4\n")
    config, _ = goes_on(first, "--config", "longer.yaml", "--seed_everything=8", "--evaluate.num_samples=30")
    assert (config["trainer"]["val_check_interval"], config["evaluate"]["num_samples"]) == (4, 30)
    told = [line for line in capsys.readouterr().err.splitlines() if "was given" in line]
    assert sorted(line.partition("note: ")[2] for line in told) == [
        "evaluate.num_samples=30 was given, the checkpoint has 20",
        "seed_everything=8 was given, the checkpoint has 7",
        "trainer.val_check_interval=4 was given, the checkpoint has 3",
    ]


def rates(checkpoint):
    """Learning rates of discriminator and generator."""
    return [group["lr"] for state in checkpoint["optimizer_states"] for group in state["param_groups"]]


def moments(checkpoint):
    return [{int(value["step"]) for value in state["state"].values()} for state in checkpoint["optimizer_states"]]


def test_a_learning_rate_is_changed_and_its_schedule_goes_on(first):
    _, unchanged = goes_on(first)
    start = 1 / 3  # of LinearLR
    assert rates(unchanged) == pytest.approx([2e-4, 2e-4 * (start + (1 - start) * 8 / 10)])
    Path("runs").rename("before")
    _, checkpoint = goes_on(first, "--model.generator_optimizer.lr=0.01")
    assert rates(checkpoint) == pytest.approx([2e-4, 0.01 * (start + (1 - start) * 8 / 10)])
    assert moments(checkpoint) == [{8}, {8}]


def test_another_schedule_is_where_it_would_be_had_it_been_there_from_the_start(first):
    _, checkpoint = goes_on(first, f"--model.generator_scheduler={STEPS}", f"--model.discriminator_scheduler={LINEAR}",
                            steps=7)  # fmt: skip
    assert rates(checkpoint) == pytest.approx([2e-4 * (1 / 3 + 2 / 3 * 7 / 10), 2e-4 * 0.5**3])
    assert moments(checkpoint) == [{7}, {7}]


def test_another_optimizer_begins_without_moments(first):
    _, checkpoint = goes_on(first, "--model.generator_optimizer=torch.optim.RMSprop",
                            "--model.generator_optimizer.lr=0.001", "--model.generator_scheduler=null")  # fmt: skip
    assert rates(checkpoint) == [2e-4, 0.001]
    assert moments(checkpoint) == [{8}, {4}]
    assert "square_avg" in next(iter(checkpoint["optimizer_states"][1]["state"].values()))


def test_options_that_change_the_networks_shapes_are_refused(first, capsys):
    with pytest.raises(SystemExit):
        goes_on(first, "--model.latent_dim=3")
    line = capsys.readouterr().err.splitlines()[-1]
    assert "its weights don't fit this model: size mismatch for " in line
    assert "model.latent_dim=3 was given, the checkpoint has 2" in line
    assert not Path("runs").exists()


def test_a_file_with_a_checkpoint_is_understood_and_test_takes_what_matters_to_it(first, capsys):
    Path("again.yaml").write_text(f"ckpt_path: {first / 'checkpoints/last.ckpt'}\n")
    main(["test", "--config", "again.yaml", *MACHINE, "--experiment=c"])
    assert "test/kid_digits_20" in capsys.readouterr().out
    (run,) = Path("runs/c").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["seed_everything"], config["trainer"]["precision"]) == (7, "bf16-mixed")
