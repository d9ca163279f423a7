"""p(x | y): labels reach both players, in every way that networks take them."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from objectives import LOSSES, PENALTIES
from test_gan_objectives import SGD, Recorder, assert_same_weights, descend
from test_update import SHAPE, fit
from torch import nn
from torch.nn import functional as F

from datamodules import DigitsDataModule
from lit_gen import GAN, WGANGP
from lit_gen.callbacks import GameMonitor, SampleGrid
from lit_gen.cli.app import main
from lit_gen.losses import R1R2, Hinge, RelativisticPairing
from lit_gen.modules.adversarial import GANDraw
from lit_gen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    FixupDiscriminator,
    FixupGenerator,
    MLPDiscriminator,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
)

INPUT = [("concatenation", "concatenation"), ("embedding", "embedding")]
HEADS = [("batch_norm", "projection"), ("batch_norm", "auxiliary")]
FIXUP = {"blocks": 1, "group_width": 4}
NETWORKS = [
    *[(MLPGenerator, MLPDiscriminator, SHAPE, ways) for ways in (None, *INPUT, *HEADS)],
    *[(DCGANGenerator, DCGANDiscriminator, SHAPE, ways) for ways in (None, *INPUT, *HEADS)],
    *[(ResNetGenerator, ResNetDiscriminator, (1, 32, 32), ways) for ways in (None, *HEADS)],
    *[(FixupGenerator, FixupDiscriminator, SHAPE, ways) for ways in (None, *INPUT, ("embedding", "projection"))],
]


def conditional(kind=GAN, generator="concatenation", discriminator="concatenation", **kwargs):
    torch.manual_seed(0)
    if isinstance(generator, str):
        generator = partial(MLPGenerator, width=16, depth=1, condition=generator)
    if isinstance(discriminator, str):
        discriminator = partial(MLPDiscriminator, width=16, depth=1, condition=discriminator)
    return kind(SHAPE, 4, generator=generator, discriminator=discriminator, num_classes=10, conditional=True, **kwargs)


class Labels(Recorder):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append([tensor.clone() for tensor in batch])


@pytest.mark.parametrize(
    ("generator", "discriminator", "shape", "ways"),
    NETWORKS,
    ids=[f"{generator.__name__}-{ways and ways[1]}" for generator, _, _, ways in NETWORKS],
)
def test_two_steps_of_every_loss_and_penalty_move_every_player(generator, discriminator, shape, ways):
    torch.manual_seed(0)
    options = ({}, {}) if ways is None else ({"condition": ways[0]}, {"condition": ways[1]})
    fixed = (FIXUP, FIXUP) if generator is FixupGenerator else ({"norm": "batch"}, {"norm": "layer"})
    module = GAN(
        shape, 3,
        partial(generator, width=4, **fixed[0], **options[0]),
        partial(discriminator, width=4, **fixed[1], **options[1]),
        num_classes=3, conditional=ways is not None, ema_half_life=None,
    )  # fmt: skip
    start, n = {key: value.clone() for key, value in module.state_dict().items()}, 4
    real, y = torch.rand(n, *shape) * 2 - 1, None if ways is None else torch.tensor([0, 1, 2, 0])
    for module.loss, module.penalty in itertools.product(LOSSES, PENALTIES):
        module.load_state_dict(start)
        for step in range(2):
            module.updates["discriminator"] = step
            draw = GANDraw(real, torch.randn(n, 3), module.uniform(n), labels=y)
            for network, objective in (
                (module.discriminator, module.discriminator_loss(draw)[0]),
                (module.generator, module.generator_loss(draw)[0]),
            ):
                weights = list(network.parameters())
                gradients = torch.autograd.grad(objective, weights, allow_unused=True)
                for weight, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:  # such as a last bias under Wasserstein
                        assert gradient.isfinite().all()
                        weight.data -= 1e-3 * gradient
        for name in ("generator", "discriminator"):
            moved = [k for k, v in module.state_dict().items() if k.startswith(name) and not torch.equal(v, start[k])]
            assert moved, (module.loss, module.penalty, name)


@pytest.mark.parametrize("way", ["concatenation", "projection"])
def test_one_conditional_step_of_plain_pytorch(way):
    options = {"generator_optimizer": SGD, "discriminator_optimizer": SGD, "ema_half_life": None, "n_critic": 1}
    module, oracle = (conditional(WGANGP, discriminator=way, **options) for _ in range(2))
    recorder = Labels()
    fit(module, steps=1, callbacks=[recorder])
    (real, y), g, d = recorder.batches[0], oracle.generator, oracle.discriminator
    assert len(y.unique()) > 3
    module.random.reseed(3, "train", 0)
    z, epsilon, z2 = module.noise(32), module.random.uniform(32), module.noise(32)
    fake = g(z, y).detach()
    points = (epsilon.view(-1, 1, 1, 1) * real + (1 - epsilon.view(-1, 1, 1, 1)) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(d(points, y).sum(), points, create_graph=True)
    penalty = 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    descend(d, d(fake, y).mean() - d(real, y).mean() + penalty)
    descend(g, -d(g(z2, y), y).mean())
    assert_same_weights(module.generator, g, rtol=1e-4, atol=1e-6)
    assert_same_weights(module.discriminator, d, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("loss", [Hinge(), RelativisticPairing()], ids=str)
def test_the_auxiliary_classifier_s_terms(norm, loss):
    discriminator = partial(MLPDiscriminator, width=16, norm=norm, condition="auxiliary")
    module = conditional(discriminator=discriminator, loss=loss, auxiliary_weight=0.3).double()
    x, z, y = torch.randn(6, *SHAPE).double(), torch.randn(6, 4).double(), torch.tensor([0, 1, 2, 3, 4, 9])
    with torch.no_grad():
        fake = module.generator(z, y)
        (real_scores, real_logits), (fake_scores, fake_logits) = (module.discriminator.classify(i) for i in (x, fake))
        log_p = [F.log_softmax(logits, 1)[range(6), y].mean() for logits in (real_logits, fake_logits)]
        d_loss, _ = module.discriminator_loss(GANDraw(x, z, torch.rand(6), labels=y))
        torch.testing.assert_close(d_loss, loss.discriminator(real_scores, fake_scores) - 0.3 * sum(log_p))
        g_loss, _ = module.generator_loss(GANDraw(x, z, torch.rand(6), labels=y))
        compared = (real_scores,) if loss.needs_real else ()
        torch.testing.assert_close(g_loss, loss.generator(fake_scores, *compared) - 0.3 * log_p[1])


def test_penalties_see_the_labels_of_each_half():
    module = conditional(discriminator="projection")
    x, fake, y = torch.randn(5, *SHAPE), torch.randn(5, *SHAPE), torch.tensor([0, 3, 5, 7, 9])
    z = torch.randn(5, 4)
    module.penalty = R1R2(weight=1.0)
    with torch.no_grad():
        fake = module.generator(z, y)
    both = 0.0
    for images in (x, fake):
        images = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module.discriminator(images, y).sum(), images)
        both = both + 0.5 * gradient.flatten(1).square().sum(1).mean()
    _, values = module.discriminator_loss(GANDraw(x, z, torch.rand(5), labels=y))
    torch.testing.assert_close(values["penalty"], both)


def test_samples_by_class():
    module = conditional().eval()
    y = torch.tensor([3, 1, 4])
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    samples = module.sample(3, y, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples, module.network("generator")(z, y))
    one = module.sample(3, 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(one[2], samples[2])
    assert not torch.equal(one[0], samples[0])
    drawn = [module.sample(600, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert set(module.classes(600, None, torch.Generator().manual_seed(0))[0].tolist()) == set(range(10))
    assert module.sample(0).shape == (0, *SHAPE)


@pytest.mark.parametrize("labels", [10, -1, torch.tensor([1, 2]), torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, 1)])
def test_wrong_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"(?s)labels=.*from 0 to 9.*3 samples"):
        conditional().sample(3, labels)


def test_data_without_labels_are_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"conditional=True, num_classes=0: .* labels"):
        GAN(SHAPE, 4, conditional=True)
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=np.zeros((40, 8, 8), np.uint8))
    with pytest.raises(SystemExit):
        main(["fit", "--model=GAN", "--model.conditional=true", "--data=ArrayDataModule", "--data.path=images.npz"])
    error = capsys.readouterr().err
    assert "conditional=True, num_classes=0" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["images.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"pack": 2}, "pack=2, conditional=True"), ({"auxiliary_weight": -1.0}, "auxiliary_weight=-1")],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        conditional(**arguments)


def test_data_with_labels_leave_an_unconditional_model_alone():
    module = GAN(SHAPE, 4, MLPGenerator, MLPDiscriminator, num_classes=10)
    assert module.generator.num_classes == module.discriminator.num_classes == 0
    assert module.labels_of((torch.zeros(2), torch.zeros(2))) == ()


def test_standing_statistics_of_conditional_batch_norm():
    generator = partial(MLPGenerator, width=8, norm="batch", condition="batch_norm")
    module = conditional(generator=generator, standing_batches=2, ema_half_life=None)
    plain = conditional(generator=generator, ema_half_life=None)
    y, seeded = torch.arange(10), torch.Generator().manual_seed
    assert not torch.allclose(module.sample(10, y, seeded(0)), plain.sample(10, y, seeded(0)), atol=1e-3)
    layers = [m for m in module.standing(module.generator).modules() if isinstance(m, nn.BatchNorm1d)]
    assert layers
    assert all(layer.running_mean.abs().max() > 0 for layer in layers)


def test_callbacks_show_the_classes_in_rows(tmp_path):
    module, data = conditional(), DigitsDataModule(batch_size=32)
    fit(module, steps=2, callbacks=[GameMonitor()])
    trainer = type("Trainer", (), {"datamodule": data})()
    picture = SampleGrid(num_samples=30).picture(trainer, module)
    assert module.class_names == tuple("0123456789")
    assert picture.shape[1] == 5 * 50 - 2  # two classes of three images side by side
    assert 2 * 3 * 50 < picture.shape[2] < 2 * (3 * 50 + 30)
