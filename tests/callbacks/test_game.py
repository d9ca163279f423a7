import math
import os
import subprocess
import sys
import warnings
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn

from datamodules import DigitsDataModule
from lit_gen import GAN, VAE, WGAN
from lit_gen.callbacks import GameMonitor, GameWarning
from lit_gen.callbacks.game import auc, gradient_ratio, mean_distance, share_clipped, substitutes
from lit_gen.cli.app import main
from lit_gen.losses import R1, Hinge, LeastSquares, Minimax, NonSaturating, SpectralNorm, Wasserstein
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam, WGANRMSprop
from lit_gen.training.view import View

SHAPE = (1, 8, 8)
MLP = {
    "latent_dim": 8,
    "generator": partial(MLPGenerator, width=64),
    "discriminator": partial(MLPDiscriminator, width=64),
}


def fit(make, steps, every, monitor=None, data=None, **settings):
    """Train on the digits; the monitor, the module and the values logged at each validation."""
    L.seed_everything(0, verbose=False)
    module, logged = make(), []
    record = LambdaCallback(
        on_validation_end=lambda trainer, _: logged.append(
            {name[5:]: v.item() for name, v in trainer.callback_metrics.items() if name.startswith("game/")}
        )
    )
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, val_check_interval=every, check_val_every_n_epoch=None,
        limit_val_batches=settings.pop("limit_val_batches", 1), num_sanity_val_steps=1, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[*([monitor] if monitor else []), record], **settings,
    )  # fmt: skip
    with warnings.catch_warnings():
        if trainer.world_size == 1:
            warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=data or DigitsDataModule(batch_size=64))
    return trainer, module, logged


def names(monitor):
    return [name for _, name, _ in monitor.alarms]


# ---- quantities by hand


def linear_game(loss, scores):
    """Points on a line and D(x) = 3 x, at the given scores."""
    points = (torch.tensor(scores)[:, None] / 3).requires_grad_()
    return gradient_ratio(loss, torch.zeros(len(scores)), 3 * points[:, 0], points)


@pytest.mark.parametrize("score", [-6.0, -1.0, 0.0, 2.0])
def test_ratio_of_a_linear_discriminator(score):
    s = 1 / (1 + torch.tensor(-score).exp().item())
    scores = [score] * 4
    assert linear_game(NonSaturating(), scores) == pytest.approx(1)
    assert linear_game(Minimax(), scores) == pytest.approx(s / (1 - s), rel=1e-4)
    assert linear_game(Wasserstein(), scores) == pytest.approx(1 / (1 - s), rel=1e-4)
    assert linear_game(LeastSquares(), scores) == pytest.approx(abs(score - 1) / (1 - s), rel=1e-4)


def test_ratio_is_of_the_means_and_nan_for_a_flat_discriminator():
    s = torch.tensor([-2.0, 1.0]).sigmoid()
    assert linear_game(Minimax(), [-2.0, 1.0]) == pytest.approx((s.sum() / (1 - s).sum()).item())
    points = torch.ones(3, 1, requires_grad=True)
    assert math.isnan(gradient_ratio(Minimax(), torch.zeros(3), (points * 0)[:, 0], points))


def test_auc_counts_pairs_and_halves_ties():
    assert auc(torch.tensor([5.0, 1.0]), torch.tensor([0.0, 1.0, 3.0])) == pytest.approx((3 + 1.5) / 6)
    assert auc(torch.ones(3), torch.ones(3)) == 0.5
    assert auc(torch.tensor([-3.0]), torch.tensor([-4.0])) == 1  # where accuracy at 0 would see no difference


def test_distance_and_clipped_share():
    assert mean_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])) == pytest.approx((5 + 8 + 5) / 3)
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[5.0, -5.0, 0.003]]).clamp(-0.01, 0.01))
        layer.bias.fill_(0.0099)
    assert share_clipped(layer, 0.01) == 0.5


def test_what_is_logged_is_the_game_recomputed():
    trainer, module, logged = fit(lambda: GAN(SHAPE, **MLP, loss=Minimax()), 4, 4, GameMonitor(num_samples=30))
    data = trainer.datamodule.dataset("val")
    real = DigitsDataModule.to_float(data.images[::10])
    with substitutes(module) as twin:
        fake = module.generator(twin.noise(30))
    with torch.no_grad():
        scores = module.discriminator(real), module.discriminator(fake)
        s = scores[1].sigmoid()
    assert logged[-1]["auc"] == pytest.approx(auc(*scores))
    assert logged[-1]["spread"] == pytest.approx(mean_distance(fake) / mean_distance(real))
    assert logged[-1]["gradient_ratio"] == pytest.approx((s / (1 - s)).mean().item(), rel=0.1)
    assert {"generator_gradient_norm", "discriminator_gradient_norm"} < logged[-1].keys()


def test_instance_noise_is_on_what_is_judged_not_on_the_distances():
    trainer, module, _ = fit(lambda: GAN(SHAPE, **MLP), 4, 4)
    clean = GameMonitor()._play(trainer, module)
    module.view = View(noise=100.0)
    noisy = GameMonitor()._play(trainer, module)
    assert noisy["spread"] == clean["spread"]
    assert noisy["auc"] < 0.7 < clean["auc"]


# ---- alarms


def test_a_healthy_run_is_quiet():
    fast = partial(GANAdam, lr=1e-3)
    optimizers = {"generator_optimizer": fast, "discriminator_optimizer": fast}
    monitor = GameMonitor()
    _, _, logged = fit(lambda: GAN(SHAPE, **MLP, penalty=R1(weight=1.0), **optimizers), 300, 30, monitor)
    assert monitor.alarms == []
    assert len(logged) == 11  # with the sanity check, which measures nothing
    assert logged[0] == {}
    assert logged[-1]["spread"] > 0.5


def test_minimax_against_a_discriminator_far_ahead():
    slow, fast = partial(GANAdam, lr=1e-5), partial(GANAdam, lr=2e-3)
    optimizers = {"generator_optimizer": slow, "discriminator_optimizer": fast}
    monitor = GameMonitor()
    _, _, logged = fit(lambda: GAN(SHAPE, **MLP, loss=Minimax(), **optimizers), 200, 20, monitor)
    assert {"gradient_ratio", "auc"} == set(names(monitor))
    assert len(monitor.alarms) == 2  # each said once, although it lasts
    assert logged[-1]["gradient_ratio"] < 0.01
    sentence = next(sentence for _, name, sentence in monitor.alarms if name == "gradient_ratio")
    assert "below min_gradient_ratio=0.1 for 5 validations" in sentence
    assert "NonSaturating" in sentence


class Constant(MLPGenerator):
    def forward(self, z):
        return super().forward(z * 0)


def test_a_constant_generator_has_collapsed():
    monitor = GameMonitor()
    _, _, logged = fit(lambda: GAN(SHAPE, **{**MLP, "generator": partial(Constant, width=64)}), 10, 5, monitor)
    assert names(monitor) == ["spread"]
    assert logged[-1]["spread"] == pytest.approx(0, abs=1e-6)


def test_a_critic_at_its_bounds():
    monitor, rate = GameMonitor(), partial(WGANRMSprop, lr=0.1)
    _, module, logged = fit(lambda: WGAN(SHAPE, **MLP, discriminator_optimizer=rate), 12, 6, monitor)
    assert names(monitor) == ["clipped"]
    assert logged[-1]["clipped"] == share_clipped(module.discriminator, module.constraint.bound) > 0.9


def test_exploding_gradients():
    monitor, rate = GameMonitor(), partial(torch.optim.SGD, lr=1.0)
    optimizers = {"generator_optimizer": rate, "discriminator_optimizer": rate}
    fit(lambda: GAN(SHAPE, **MLP, loss=Hinge(), **optimizers), 6, 1, monitor)
    assert "discriminator_gradient_norm" in names(monitor)


@pytest.mark.parametrize("norm", [float("nan"), float("inf"), 1001.0])
def test_a_norm_that_is_no_number_is_an_alarm(norm):
    monitor = GameMonitor()
    with pytest.warns(GameWarning, match=r"Step 7: game/generator_gradient_norm is .*max_gradient_norm=1000"):
        monitor.judge(7, "generator_gradient_norm", norm)
    assert [alarm[:2] for alarm in monitor.alarms] == [(7, "generator_gradient_norm")]


@pytest.mark.filterwarnings("ignore::lit_gen.callbacks.GameWarning")
def test_said_once_and_again_after_it_has_gone_away_also_when_resumed():
    monitor = GameMonitor(patience=2)
    for step, value in enumerate([1.0, 1.0, 1.0]):
        monitor.judge(step, "auc", value)
    resumed = GameMonitor(patience=2)
    resumed.load_state_dict(monitor.state_dict())
    for step, value in enumerate([1.0, 0.9, 1.0, 0.9, 1.0, 1.0, 1.0], start=3):
        resumed.judge(step, "auc", value)
    assert [alarm[:2] for alarm in resumed.alarms] == [(1, "auc"), (8, "auc")]
    assert [alarm[:2] for alarm in monitor.alarms] == [(1, "auc")]


# ---- it only looks


class Dropping(MLPDiscriminator):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.2))  # in eval mode too: it draws from the global state


DCGAN = {"generator": partial(DCGANGenerator, width=4), "discriminator": partial(DCGANDiscriminator, width=4)}
GAMES = {
    "batch norm, noise": lambda: GAN(SHAPE, 4, **DCGAN, instance_noise=0.1, n_critic=2),
    "spectral norm": lambda: GAN(SHAPE, **MLP, constraint=SpectralNorm(), loss=Hinge()),
    "dropout, packs": lambda: GAN(SHAPE, **{**MLP, "discriminator": Dropping}, pack=2, standing_batches=1),
    "critic": lambda: WGAN(SHAPE, **MLP),
}


@pytest.mark.parametrize("game", GAMES)
def test_training_is_the_same_bit_for_bit(game, assert_same):
    states = []
    for monitor in (None, GameMonitor(num_samples=16)):
        trainer, module, logged = fit(GAMES[game], 6, 2, monitor)
        weights = module.state_dict()
        optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        states.append({"weights": weights, "optimizers": optimizers, "random": torch.get_rng_state()})
        assert bool(logged[-1]) == (monitor is not None)
    assert_same(*states)


@pytest.mark.parametrize("game", GAMES)
def test_looking_leaves_everything_as_it_was(game, assert_same):
    trainer, module, _ = fit(GAMES[game], 2, 2)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(module.discriminator.parameters()).requires_grad_(False)
    module.train()
    module.generator.eval()

    def state():
        return {
            "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
            "gradients": {name: p.grad.clone() for name, p in module.named_parameters()},
            "trained": {name: p.requires_grad for name, p in module.named_parameters()},
            "versions": {name: p._version for name, p in module.named_parameters()},
            "modes": {name: layer.training for name, layer in module.named_modules()},
            "random": torch.get_rng_state(),
            "own": module.random._generator.get_state(),
            "owner": id(module.random),
        }

    before = state()
    with torch.inference_mode():
        assert GameMonitor()._play(trainer, module).keys() == {"gradient_ratio", "auc", "spread"}
    assert_same(before, state())


class NoValidation(DigitsDataModule):
    def read(self):
        splits = super().read()
        images = splits["train"]
        return {**splits, "val": type(images)(images.images[:0])}


@pytest.mark.parametrize(("data", "batches"), [(NoValidation(batch_size=64), 1), (None, 0)])
def test_without_validation_it_measures_after_each_epoch(data, batches):
    monitor = GameMonitor()
    settings = {"limit_val_batches": batches, "limit_train_batches": 3}
    trainer, _, _ = fit(lambda: GAN(SHAPE, **MLP), 6, None, monitor, data, **settings)
    assert "game/auc" in trainer.callback_metrics


def test_other_precisions_and_modules():
    make = partial(GAN, SHAPE, **MLP, instance_noise=0.1, ema_half_life=None)
    expected = fit(make, 2, 2, GameMonitor())[2][-1]
    for precision in ("64-true", "bf16-mixed"):
        logged = fit(make, 2, 2, GameMonitor(), precision=precision)[2][-1]
        assert logged["spread"] == pytest.approx(expected["spread"], rel=0.1)
    _, _, logged = fit(lambda: VAE(SHAPE, latent_dim=4), 2, 2, GameMonitor())
    assert logged[-1] == {}


def test_two_processes_measure_the_same_and_only_the_first_speaks(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second
    assert [name for _, name, _ in first["alarms"]] == ["spread"]
    assert done.stderr.count("the generator has collapsed") == 1


def test_the_command_line_knows_it_by_its_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu"]
    options += ["--evaluate.extractor=null", "--trainer.callbacks=GameMonitor", "--trainer.callbacks.min_spread=10"]
    networks = ["--model.generator=MLPGenerator", "--model.discriminator=MLPDiscriminator"]
    with pytest.warns(GameWarning, match=r"game/spread is .*, below min_spread=10: "):
        main(["fit", "--model=GAN", *networks, "--data=DigitsDataModule", *options, "--experiment=watched"])
    (metrics,) = tmp_path.glob("runs/watched/*/metrics.csv")
    assert "game/gradient_ratio" in metrics.read_text()


def test_refuses():
    for arguments in ({"num_samples": 1}, {"patience": 0}, {"min_spread": -1.0}, {"max_auc": float("nan")}):
        (name,) = arguments
        with pytest.raises(ValueError, match=f"{name}={arguments[name]}: "):
            GameMonitor(**arguments)
    with pytest.raises(ValueError, match="datamodule=None: GameMonitor needs"):
        GameMonitor().setup(SimpleNamespace(datamodule=None), GAN(SHAPE, **MLP), "fit")


if __name__ == "__main__":  # a program of its own, which Lightning's launcher starts once more for the second process
    watcher = GameMonitor(min_spread=10.0)
    trainer, _, logged = fit(GAMES["batch norm, noise"], 4, 2, watcher, devices=2)
    torch.save({"alarms": watcher.alarms, "logged": logged}, f"{sys.argv[1]}/{trainer.global_rank}.pt")
