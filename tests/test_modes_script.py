"""scripts/experiments/modes.py: what it trains, and what its table says."""

import math

import pytest

from lit_gen.networks import couples_batch


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("experiments/modes.py")


def test_the_published_networks_have_the_published_layers(script):
    for method, inputs in (("GAN", 2), ("PacGAN2", 4), ("PacGAN4", 8), ("WGAN-GP", 2)):
        model, steps, batch_size = script.METHODS[method]("ring", 0.01, 1e-4)
        assert (steps, batch_size) == (4000, 100)
        shapes = [tuple(p.shape) for p in model.discriminator.parameters() if p.ndim == 2]
        assert shapes == [(1000, inputs), (1000, 200), (1000, 200), (1, 200)]
        shapes = [tuple(p.shape) for p in model.generator.parameters() if p.ndim == 2]
        assert shapes == [(400, 2), (400, 400), (400, 400), (400, 400), (2, 400)]
        assert couples_batch(model.generator)
        assert not couples_batch(model.discriminator)
        settings = model.configure_optimizers()[0]["optimizer"].defaults
        assert (settings["lr"], settings["betas"][0]) == (1e-4, 0.0 if method == "WGAN-GP" else 0.8)


def test_a_run_is_scored_and_repeats_with_its_seed(script):
    runs = [script.run_once("PacGAN2", "grid", seed, share=5e-6, lr=1e-3) for seed in (1, 1)]
    scores = [{key: value for key, value in run.items() if key not in ("cpu", "wall", "reverse_kl")} for run in runs]
    assert scores[0] == scores[1]
    assert runs[0]["steps"] == 2
    assert {"method", "mixture", "seed", "modes", "high_quality", "reverse_kl", "cpu", "wall"} <= runs[0].keys()


def test_rows_are_means_and_deviations_over_the_seeds(script):
    run = {"modes": 8, "high_quality": 0.9, "reverse_kl": 0.1, "cpu": 10.0, "wall": 20.0, "steps": 5}
    other = {**run, "modes": 6, "high_quality": 0.7, "reverse_kl": 0.3}
    row = script.row("PacGAN2", "ring", [run, other])
    assert "| 7.0 ± 1.4 | 1 of 2 | 80.0 ± 14.1 | 0.200 ± 0.141 | 10 ± 0 | 20 ± 0 | 7.9 ± 0.1, 95.6, 0.07 |" in row
    assert " nan " in script.row("GAN", "grid", [{**run, "reverse_kl": math.nan}])
