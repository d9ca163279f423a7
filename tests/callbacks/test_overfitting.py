"""Discriminators and generators that know their training images by heart."""

import math
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from datamodules import DigitsDataModule
from lit_gen import GAN
from lit_gen.callbacks import GameMonitor
from lit_gen.callbacks.overfitting import copy_ratio, memorisation, overfitting
from lit_gen.modules import ADA
from lit_gen.networks import Discriminator, Generator, MLPDiscriminator, MLPGenerator

SHAPE = (1, 8, 8)
TRAIN = DigitsDataModule.to_float(DigitsDataModule(batch_size=64).dataset("train").images)


class ByHeart(Discriminator):
    """Minus the distance to the nearest training image."""

    def __init__(self, image_shape):
        super().__init__(image_shape)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return -self.scale * torch.cdist(x.flatten(1), TRAIN.flatten(1)).amin(1)


class Copying(Generator):
    """Training images with a little noise."""

    def __init__(self, image_shape, latent_dim):
        super().__init__(image_shape, latent_dim)
        self.scale = nn.Parameter(torch.full((), 0.01))

    def forward(self, z):
        return (TRAIN[: len(z)] + self.scale * z[:, :1, None, None]).clamp(-1, 1)


def test_overfitting_by_hand():
    known, generated = torch.tensor([4.0, 6.0]), torch.tensor([0.0, 2.0])
    for new, expected in [([4.0, 6.0], 0.0), ([3.0, 3.0], 0.5), ([1.0, 1.0], 1.0)]:
        assert overfitting(known, torch.tensor(new), generated) == pytest.approx(expected)
    assert overfitting(known, generated, known) == 0  # it can't tell at all


def test_copy_ratio_by_loops():
    generator = torch.Generator().manual_seed(0)
    samples, new, known = (torch.randn(n, 1, 2, 3, generator=generator) for n in (5, 7, 11))

    def nearest(queries):
        return sorted(min(math.dist(q.flatten().tolist(), k.flatten().tolist()) for k in known) for q in queries)

    expected = nearest(samples)[2] / nearest(new)[3]
    assert copy_ratio(samples, new, iter(known.split(4))) == pytest.approx(expected, rel=1e-6)
    assert copy_ratio(known[:5], new, iter(known.split(4))) == 0


def observed(monitor, **options):
    L.seed_everything(0, verbose=False)
    module = GAN(SHAPE, **{"latent_dim": 8, "ema_half_life": None, **options})
    trainer = L.Trainer(
        accelerator="cpu", max_steps=2, val_check_interval=1, limit_val_batches=1, num_sanity_val_steps=0,
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[monitor],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=DigitsDataModule(batch_size=64))
    return trainer, module


def test_both_are_said_with_their_remedies():
    monitor = GameMonitor(patience=2)
    trainer, module = observed(monitor, generator=Copying, discriminator=MLPDiscriminator)
    told = {name: sentence for _, name, sentence in monitor.alarms}
    assert trainer.callback_metrics["game/copy_ratio"].item() < 0.2
    assert "below min_copy_ratio=0.5 for 2 validations: samples lie far nearer to training images" in told["copy_ratio"]
    module.discriminator = ByHeart(SHAPE)
    module.generator = MLPGenerator(SHAPE, 8, width=8)
    measured = memorisation(trainer.datamodule, module, 64, 2000)
    assert 0.1 < measured["overfitting"] < 1
    assert measured["copy_ratio"] > 1
    monitor.judge(1, "overfitting", 0.9)
    monitor.judge(2, "overfitting", 0.8)
    assert "not within max_overfitting=0.7 for 2 validations" in monitor.alarms[-1][2]
    assert "ADA" in monitor.alarms[-1][2]


def test_a_healthy_game_through_an_augmentation_is_quiet_and_left_alone(assert_same):
    networks = {"generator": partial(MLPGenerator, width=16), "discriminator": partial(MLPDiscriminator, width=16)}
    monitor = GameMonitor(patience=1, num_neighbours=100)
    trainer, module = observed(monitor, augmentation=ADA(p=0.3), **networks)
    assert not {"overfitting", "copy_ratio"} & {name for _, name, _ in monitor.alarms}

    def state():
        weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        return {"weights": weights, "random": torch.get_rng_state(), "modes": [m.training for m in module.modules()]}

    before = state()
    first, again = (memorisation(trainer.datamodule, module, 32, 100) for _ in range(2))
    assert_same(before, state())
    assert first == again


def test_a_number_of_neighbours_is_refused():
    with pytest.raises(ValueError, match="num_neighbours=-1: "):
        GameMonitor(num_neighbours=-1)
