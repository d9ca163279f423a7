"""scripts/experiments/modes.py: what it trains, and what its table says."""

import math

import pytest

from lit_gen.networks import couples_batch


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("experiments/modes.py")


def test_the_published_networks_have_the_published_layers(script):
    for method, inputs in (("GAN", 2), ("PacGAN2", 4), ("PacGAN4", 8), ("WGAN-GP", 2)):
        model = script.build(method, "ring", "paper", 4000, 1e-4)
        assert (script.BATCH["paper"], script.STEPS["paper"]) == (100, 400_000)
        shapes = [tuple(p.shape) for p in model.discriminator.parameters() if p.ndim == 2]
        assert shapes == [(1000, inputs), (1000, 200), (1000, 200), (1, 200)]
        shapes = [tuple(p.shape) for p in model.generator.parameters() if p.ndim == 2]
        assert shapes == [(400, 2), (400, 400), (400, 400), (400, 400), (2, 400)]
        assert couples_batch(model.generator)
        assert not couples_batch(model.discriminator)
        settings = model.configure_optimizers()[0]["optimizer"].defaults
        assert (settings["lr"], settings["betas"][0]) == (1e-4, 0.0 if method == "WGAN-GP" else 0.8)


def test_small_networks_are_the_same_for_every_method(script):
    models = {method: script.build(method, "grid", "small", 4000, 1e-3) for method in script.METHODS}
    for method, model in models.items():
        pack = {"PacGAN2": 2, "PacGAN4": 4}.get(method, 1)
        generator, discriminator = (
            [tuple(p.shape) for p in player.parameters() if p.ndim == 2]
            for player in (model.generator, model.discriminator)
        )
        assert generator == [(128, 2), (128, 128), (128, 128), (2, 128)]
        assert discriminator == [(128, 2 * pack), (128, 128), (128, 128), (1, 128)]
    assert models["RpGAN+R1+R2"].penalty.weight == 2e-2
    assert models["WGAN-GP"].penalty.weight == 0.1


@pytest.mark.parametrize("method", ["GAN", "WGAN-GP"])
def test_learning_rates_fall_to_zero_with_each_players_last_update(script, method):
    model = script.build(method, "ring", "small", 40, 1e-3)
    updates = {"generator": 8 if method == "WGAN-GP" else 40, "discriminator": 40}
    for player, configuration in zip(model._players, model.configure_optimizers(), strict=True):
        scheduler = configuration["lr_scheduler"]["scheduler"]
        rates = []
        for _ in range(updates[player.name]):
            rates.append(scheduler.get_last_lr()[0])
            scheduler.optimizer.step()
            scheduler.step()
        assert rates[3 * updates[player.name] // 4] == 1e-3
        assert rates[-1] > 0
        assert scheduler.get_last_lr()[0] == 0


def test_a_run_is_scored_and_repeats_with_its_seed(script):
    runs = [script.run_once("PacGAN2", "grid", seed, "small", 4, None, every) for seed, every in ((1, 0), (1, 2))]
    unequal = ("cpu", "wall", "reverse_kl", "curve")
    scores = [{key: value for key, value in run.items() if key not in unequal} for run in runs]
    assert scores[0] == scores[1]  # looking on the way changes nothing
    assert (runs[0]["steps"], runs[0]["rate"]) == (4, 2e-3)
    assert {"method", "mixture", "seed", "modes", "high_quality", "reverse_kl", "cpu", "wall"} <= runs[0].keys()
    assert runs[1]["curve"]["batches"] == [2, 4]
    assert runs[1]["curve"]["high_quality"][-1] == runs[1]["high_quality"]


def test_the_papers_networks_refuse_the_method_that_they_cannot_serve(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["modes.py", "--networks", "paper"])
    with pytest.raises(SystemExit):
        script.main()
    assert "--methods RpGAN+R1+R2" in capsys.readouterr().err


def test_rows_are_means_and_deviations_over_the_seeds(script):
    run = {"modes": 8, "high_quality": 0.9, "reverse_kl": 0.1, "cpu": 10.0, "wall": 20.0, "steps": 5}
    other = {**run, "modes": 6, "high_quality": 0.7, "reverse_kl": 0.3}
    row = script.row("PacGAN2", "ring", [run, other])
    assert "| 7.0 ± 1.4 | 1 of 2 | 80.0 ± 14.1 | 0.200 ± 0.141 | 10 ± 0 | 20 ± 0 | 7.9 ± 0.1, 95.6, 0.07 |" in row
    assert " nan " in script.row("GAN", "grid", [{**run, "reverse_kl": math.nan}])
