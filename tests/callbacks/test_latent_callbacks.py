import csv
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from PIL import Image

from datamodules import DigitsDataModule, MixtureDataModule
from lit_gen import VAE
from lit_gen.callbacks import CollapseWarning, LatentDiagnostics, PosteriorCollapse
from lit_gen.callbacks.held_out import ItemRandomness, held_out, images_at_once
from lit_gen.callbacks.latent_pictures import reconstruction_grid, traversal_grid
from lit_gen.callbacks.samples import image_grid
from lit_gen.cli.app import main
from lit_gen.distributions import Bernoulli, DiscretisedLogistic, ExPostMixture, Gaussian, GaussianMixture, VampPrior
from lit_gen.losses import ELBO
from lit_gen.modules import GAN
from lit_gen.modules.hierarchical_vae import HierarchicalVAE
from lit_gen.networks import BottomUp, MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.optimizers import VAEAdam

SHAPE = (1, 8, 8)
MLP = {"encoder": partial(MLPEncoder, width=32, depth=1), "decoder": partial(MLPDecoder, width=32, depth=1)}
BINARY = {**MLP, "likelihood": partial(Bernoulli, binarization="dynamic"), "latent_dim": 3}


def build(**kwargs):
    torch.manual_seed(0)
    return VAE(SHAPE, **{**BINARY, **kwargs})


def trainer_for(folder, callback, **settings):
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        **settings,
    )


def measured(module, folder, data=None, **kwargs):
    trainer = trainer_for(folder, LatentDiagnostics(**kwargs))
    (values,) = trainer.test(module, datamodule=data or DigitsDataModule(), verbose=False)
    return values


# ---- noise


def test_an_images_numbers_depend_on_its_index_alone():
    whole = ItemRandomness([3, 5, 8], "key")
    uniform, normal = whole.uniform(1, 2, 2), whole.normal(40, 3)
    alone = ItemRandomness([5], "key")
    assert torch.equal(alone.uniform(1, 2, 2)[0], uniform[1])
    assert torch.equal(torch.cat([alone.normal(16, 3), alone.normal(16, 3), alone.normal(8, 3)], 1)[0], normal[1])
    assert not torch.equal(normal[0], normal[1])
    assert not torch.equal(ItemRandomness([5], "other").uniform(1, 2, 2), uniform[1:2])


def test_images_are_spread_over_the_split_and_shared_by_processes():
    data = DigitsDataModule()
    length, module = len(data.dataset("test")), build()
    seen = []
    for rank in range(2):
        trainer = SimpleNamespace(datamodule=data, global_rank=rank, world_size=2, fast_dev_run=False)
        for batch in held_out(trainer, module, "test", 9, batch_size=2, seed=0):
            seen += list(batch.images)
            assert set(batch.x.unique().tolist()) <= {0.0, 1.0}
    expected = data.to_float(data.dataset("test").__getitems__([i * length // 9 for i in range(9)])[0])
    assert len(seen) == 9
    assert all(any(torch.equal(image, other) for other in seen) for image in expected)


def test_memory_bounds_what_is_decoded_at_once():
    module = SimpleNamespace(likelihood=SimpleNamespace(parameter_shape=(16, 32, 32)))
    assert images_at_once(module, 1, memory_mib=16) == 16
    assert images_at_once(module, 5, memory_mib=16) == 3
    assert images_at_once(module, 10**9, memory_mib=1) == 1


# ---- values


def test_importance_sampling_agrees_with_quadrature(tmp_path):
    """A latent of one dimension: log p(x) by a fine grid, with the same binarisation."""
    module = build(latent_dim=1)
    for parameter in module.parameters():
        parameter.data *= 2
    values = measured(module, tmp_path, num_images=20, nll_samples=3000, ais_steps=150)
    trainer = SimpleNamespace(datamodule=DigitsDataModule(), global_rank=0, world_size=1, fast_dev_run=False)
    (batch,) = held_out(trainer, module, "test", 20, 20, seed=0)
    grid = torch.linspace(-8, 8, 2001).view(-1, 1, 1)
    with torch.no_grad():
        params = module.decoder(grid.flatten(1)).unsqueeze(1)
        joint = module.likelihood.log_prob(batch.x, params) - 0.5 * grid.flatten(1) ** 2 - 0.5 * math.log(2 * math.pi)
    exact = -(joint.double().logsumexp(0) + math.log(16 / 2000)).mean().item()
    assert values["test/nll_is3000_dynamic_n20"] == pytest.approx(exact, abs=0.01)
    assert values["test/nll_ais150_dynamic_n20"] == pytest.approx(exact, abs=0.05)
    assert values["test/bpd_is3000_dynamic_n20"] == pytest.approx(exact / 64 / math.log(2), abs=0.001)
    assert 1 <= values["test/ess_is3000_dynamic_n20"] <= 3000
    assert values["test/nelbo_nats"] > values["test/nll_is3000_dynamic_n20"]


def test_annealing_starts_from_the_prior_of_the_bound_not_from_one_fitted_to_sample_from(tmp_path):
    plain, ex_post = build(), build(prior=partial(ExPostMixture, components=2))
    ex_post.prior.observe(5 + torch.randn(100, 3))
    settings = {"num_images": 10, "ais_steps": 3}
    assert measured(ex_post, tmp_path, **settings) == measured(plain, tmp_path, **settings)


@pytest.mark.parametrize("prior", [GaussianMixture, partial(VampPrior, pseudo_inputs=20)])
def test_both_estimates_agree_under_any_prior(prior, tmp_path):
    values = measured(build(prior=prior), tmp_path, num_images=10, nll_samples=500, ais_steps=40)
    importance, annealed = values["test/nll_is500_dynamic_n10"], values["test/nll_ais40_dynamic_n10"]
    assert importance == pytest.approx(annealed, abs=0.1)
    assert "test/active_units_kl" not in values  # a mixture has no divergence of each unit


def test_divergences_agree_with_the_modules_own(tmp_path):
    module = build()
    values = measured(module, tmp_path, num_images=None)
    assert values["test/latent_kl_nats"] == pytest.approx(values["test/kl_nats"], rel=0.05)  # another binarisation
    parts = values["test/mutual_information_nats"] + values["test/aggregate_kl_nats"]
    assert parts == pytest.approx(values["test/latent_kl_nats"], rel=0.2)
    assert 0 <= values["test/active_units"] <= 3
    assert not any("_is" in name or "_ais" in name for name in values)


@pytest.mark.parametrize("memory", [1, 10_000])
def test_memory_changes_nothing(memory, tmp_path):
    module = build()
    settings = {"num_images": 50, "nll_samples": 100, "ais_steps": 5}
    few, expected = measured(module, tmp_path, **settings, memory_mib=memory), measured(module, tmp_path, **settings)
    assert few == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_whole_split_and_other_likelihoods_say_so_in_the_name(tmp_path):
    names = measured(build(likelihood=DiscretisedLogistic), tmp_path, num_images=None, nll_samples=2).keys()
    assert {"test/nll_is2", "test/bpd_is2"} < names
    names = measured(build(likelihood=Bernoulli), tmp_path, num_images=20, nll_samples=2).keys()
    assert "test/nll_is2_grey_n20" in names
    assert not any("bpd" in name for name in names)


def test_conditional_models_are_asked_with_the_labels(tmp_path):
    module = build(conditional=True, num_classes=10)
    values = measured(module, tmp_path, num_images=30, nll_samples=20, ais_steps=3)
    trainer = SimpleNamespace(datamodule=DigitsDataModule(), global_rank=0, world_size=1, fast_dev_run=False)
    (batch,) = held_out(trainer, module, "test", 30, 30, seed=0)
    with torch.no_grad():
        weights = module.terms(batch.x, batch.random.normal(20, 3), *batch.labels).log_weights
    expected = -(weights.logsumexp(0) - math.log(20)).mean().item()
    assert values["test/nll_is20_dynamic_n30"] == pytest.approx(expected, rel=1e-5)


def test_points(tmp_path):
    module = VAE((2,), latent_dim=2, **MLP, likelihood=Gaussian)
    values = measured(module, tmp_path, MixtureDataModule(num_points=2000), num_images=20, nll_samples=5)
    assert "test/nll_is5_n20" in values
    assert not list(tmp_path.rglob("*.png"))


def deep(dims=(6, 4, 3), **kwargs):
    torch.manual_seed(0)
    return HierarchicalVAE(SHAPE, hierarchy=partial(BottomUp, latent_dims=dims, widths=[16] * len(dims)), **kwargs)


def test_each_layer_of_a_hierarchy_has_values_of_its_own(tmp_path):
    values = measured(deep(), tmp_path, num_images=60, nll_samples=20)
    for i in (1, 2, 3):
        assert {f"test/latent_kl_nats_{i}", f"test/active_units_{i}", f"test/active_units_kl_{i}"} < values.keys()
    assert "test/mutual_information_nats_1" in values
    assert "test/aggregate_kl_nats_1" not in values  # p(z_1) isn't known
    assert "test/mutual_information_nats_2" not in values  # nor q(z_2 | x)
    assert (tmp_path / "layers" / "test.png").exists()
    with pytest.raises(ValueError, match="ais_steps=5: annealing is for one stochastic layer"):
        measured(deep(), tmp_path, ais_steps=5)


def test_other_modules_are_left_alone(tmp_path):
    networks = {"generator": MLPGenerator, "discriminator": MLPDiscriminator}
    for callback in (LatentDiagnostics(), PosteriorCollapse()):
        trainer = trainer_for(tmp_path, callback, max_steps=1, val_check_interval=1)
        trainer.fit(GAN(SHAPE, latent_dim=4, **networks), datamodule=DigitsDataModule())
        assert not any("active" in name for name in trainer.callback_metrics)


# ---- it only looks


def test_training_is_the_same_bit_for_bit(tmp_path, assert_same):
    states = []
    both = LatentDiagnostics(num_images=20, nll_samples=3, ais_steps=2), PosteriorCollapse(num_images=20)
    for callbacks in ((), both):
        L.seed_everything(1, verbose=False)
        trainer = trainer_for(tmp_path, L.Callback(), max_steps=6, val_check_interval=2)
        trainer.callbacks.extend(callbacks)
        module = build(ema_half_life=100)
        trainer.fit(module, datamodule=DigitsDataModule())
        states.append({"weights": module.state_dict(), "random": torch.get_rng_state()})
        assert ("val/active_units" in trainer.callback_metrics) == bool(callbacks)
    assert_same(*states)


def test_every_second_validation_and_a_resumed_count(tmp_path):
    callback = LatentDiagnostics(num_images=10, every_n_epochs=2)
    trainer_for(tmp_path, callback, max_steps=5, val_check_interval=1).fit(build(), datamodule=DigitsDataModule())
    assert sorted(path.name for path in (tmp_path / "traversals").iterdir()) == ["step_000002.png", "step_000004.png"]
    resumed = LatentDiagnostics()
    resumed.load_state_dict(callback.state_dict())
    assert resumed._validations == 5


def test_two_processes_measure_what_one_does(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, str(tmp_path), "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    values = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert values[0] == values[1]
    expected = measured(build(), tmp_path, **SETTINGS)
    own = {
        name for name in expected if name.split("/")[1] not in ("nelbo_nats", "kl_nats", "reconstruction_nats", "bpd")
    }
    assert len(own) == 10
    for name in own:
        assert values[0][name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name


SETTINGS = {"num_images": 25, "nll_samples": 20, "ais_steps": 3}

# ---- pictures


def test_rows_of_images_above_their_reconstructions():
    module, images = build(), DigitsDataModule().to_float(DigitsDataModule().dataset("val").__getitems__(range(10))[0])
    grid = reconstruction_grid(images, module)
    with torch.no_grad():
        again = module.decode(module.encode(images))
    empty = torch.zeros(6, *SHAPE)  # each of the last two images stays above its own reconstruction
    rows = [images[:8], again[:8], images[8:], empty, again[8:], empty]
    assert torch.equal(grid, image_grid(torch.cat(rows), columns=8))


def test_traversal_moves_the_most_active_units_one_at_a_time():
    module, image = build(), torch.zeros(1, *SHAPE)
    grid = traversal_grid(image, torch.tensor([0.1, 0.0, 2.0]), module)
    rows = []
    for unit in (2, 0, 1):
        z = module.encode(image).repeat(11, 1)
        z[:, unit] = torch.linspace(-3, 3, 11)
        rows.append(module.decode(z).detach())
    assert torch.equal(grid, image_grid(torch.cat(rows), columns=11))


# ---- collapse


def fit(module, folder, callback, steps=200, every=40):
    trainer = trainer_for(folder, callback, max_steps=steps, val_check_interval=every)
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=100))
    return trainer


def test_a_healthy_vae_is_quiet(tmp_path):
    monitor = PosteriorCollapse()
    trainer = fit(build(optimizer=partial(VAEAdam, lr=3e-3)), tmp_path, monitor, 300, 60)
    assert monitor.alarms == []
    assert trainer.callback_metrics["latents/collapsed"] == 0


def test_a_collapsed_vae_is_said_once_in_words(tmp_path):
    monitor = PosteriorCollapse()
    with pytest.warns(CollapseWarning, match=r"Step \d+: the latent layer has collapsed, .* of 3 units are active"):
        trainer = fit(build(objective=ELBO(beta=1000.0), optimizer=partial(VAEAdam, lr=3e-3)), tmp_path, monitor)
    assert [alarm[1] for alarm in monitor.alarms] == [1]
    assert trainer.callback_metrics["latents/collapsed"] == 1


@pytest.mark.filterwarnings("ignore::lit_gen.callbacks.CollapseWarning")
def test_the_upper_layers_of_a_plain_stack_collapse_and_are_named(tmp_path):
    monitor = PosteriorCollapse()
    trainer = fit(deep((8, 8, 8), optimizer=partial(VAEAdam, lr=3e-3)), tmp_path, monitor, 300, 60)
    assert {layer for _, layer, _ in monitor.alarms} == {3} or {layer for _, layer, _ in monitor.alarms} == {2, 3}
    assert "stochastic layer 3 of 3 (1 is nearest to x) has collapsed" in monitor.alarms[-1][2]
    assert trainer.callback_metrics["latents/collapsed"] == len(monitor.alarms)


@pytest.mark.filterwarnings("ignore::lit_gen.callbacks.CollapseWarning")
def test_judging_by_each_threshold_with_patience_also_when_resumed():
    good = {"active_units": 5.0, "active_units_kl": 5.0, "kl_nats": 9.0}
    monitor = PosteriorCollapse(patience=2, min_active_units=2)
    for step, change in enumerate([{"active_units": 1.0}, {"active_units_kl": 0.0}, {"kl_nats": 0.01}]):
        assert monitor.judge(step, 1, 2, 8, good | change)
    assert not monitor.judge(3, 2, 2, 8, good)
    assert [alarm[:2] for alarm in monitor.alarms] == [(1, 1)]
    assert "0 of 8 units are active, below min_active_units=2" in monitor.alarms[0][2]
    resumed = PosteriorCollapse(patience=2, min_active_units=2)
    resumed.load_state_dict(monitor.state_dict())
    resumed.judge(4, 1, 2, 8, good | {"kl_nats": 0.0})
    assert len(resumed.alarms) == 1  # it lasts
    for step, values in enumerate([good, good | {"kl_nats": 0.0}, good | {"kl_nats": 0.0}], start=5):
        resumed.judge(step, 1, 2, 8, values)
    assert [alarm[:2] for alarm in resumed.alarms] == [(1, 1), (7, 1)]
    assert "its KL divergence is 0 nats, below min_kl_nats=0.1" in resumed.alarms[1][2]
    assert not PosteriorCollapse(min_active_units=0, min_kl_nats=0).judge(0, 1, 1, 8, dict.fromkeys(good, 0.0))


# ---- the command line


def test_the_command_line_prints_the_likelihood_of_a_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    networks = ["--model.encoder=MLPEncoder", "--model.decoder=MLPDecoder", "--model.latent_dim=3"]
    options = ["--trainer.accelerator=cpu", "--evaluate.extractor=null"]
    steps = ["--trainer.max_steps=2", "--trainer.val_check_interval=2"]
    watch = ["--trainer.callbacks+=PosteriorCollapse", "--trainer.callbacks.patience=9"]
    main(["fit", "--model=VAE", *networks, "--data=DigitsDataModule", *options, *steps, *watch, "--experiment=short"])
    (checkpoint,) = tmp_path.glob("runs/short/*/checkpoints/last.ckpt")
    capsys.readouterr()
    look = ["--trainer.callbacks+=LatentDiagnostics", "--trainer.callbacks.nll_samples=20"]
    look += ["--trainer.callbacks.num_images=30"]
    main(["test", "--ckpt_path", str(checkpoint), *options, *look])
    assert "test/nll_is20_grey_n30" in capsys.readouterr().out
    (metrics,) = (path for path in tmp_path.glob("runs/short/*/metrics.csv") if "nll_is20" in path.read_text())
    with metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["test/nll_is20_grey_n30"]) > 0
    assert Path(metrics.parent / "reconstructions" / "test.png").exists()
    with Image.open(metrics.parent / "traversals" / "test.png") as picture:
        assert picture.size == (11 * 50 - 2, 3 * 50 - 2)


def test_refuses():
    for arguments in ({"samples": 0}, {"num_images": -1}, {"nll_samples": -5}, {"ais_steps": -1}, {"memory_mib": 0}):
        (name,) = arguments
        with pytest.raises(ValueError, match=f"{name}={arguments[name]}: "):
            LatentDiagnostics(**arguments)
    for arguments in ({"num_images": 1}, {"patience": 0}, {"min_kl_nats": math.nan}, {"min_active_units": -1}):
        (name,) = arguments
        with pytest.raises(ValueError, match=f"{name}={arguments[name]}: "):
            PosteriorCollapse(**arguments)
    for callback in (LatentDiagnostics(), PosteriorCollapse()):
        with pytest.raises(ValueError, match="datamodule=None: "):
            callback.setup(SimpleNamespace(datamodule=None), build(), "fit")


if __name__ == "__main__":  # a program of its own, which Lightning's launcher starts once more for the second process
    trainer = trainer_for(sys.argv[1], LatentDiagnostics(**SETTINGS), devices=2)
    (values,) = trainer.test(build(), datamodule=DigitsDataModule(), verbose=False)
    torch.save(values, f"{sys.argv[1]}/{trainer.global_rank}.pt")
