"""What the players of a GAN are shown: pairs, packs, noise, penalties by turns."""

from functools import partial

import lightning.pytorch as L
import pytest
import torch
from test_update import build, fit
from torch import nn
from torch.nn import functional as F

from lit_gen import GAN
from lit_gen.losses import R1, RelativisticAverage, RelativisticPairing

SGD = partial(torch.optim.SGD, lr=0.1)


def descend(network, loss):
    """One step of gradient descent, by hand."""
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        if gradient is not None:
            parameter.data -= 0.1 * gradient


def assert_same_weights(a, b, **tolerance):
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, **tolerance)


class Recorder(L.Callback):
    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch[0].clone())


def test_one_relativistic_step_of_plain_pytorch():
    options = {"generator_optimizer": SGD, "discriminator_optimizer": SGD, "ema_half_life": None}
    module = build(GAN, loss=RelativisticPairing(), penalty=R1(weight=0.5), **options)
    oracle = build(GAN)
    recorder = Recorder()
    fit(module, steps=1, callbacks=[recorder])
    real, g, d = recorder.batches[0], oracle.generator, oracle.discriminator
    module.random.reseed(3, "train", 0)
    z, _, z2 = module.noise(32), module.random.uniform(32), module.noise(32)
    x = real.clone().requires_grad_()
    loss = torch.log1p(torch.exp(d(g(z).detach()) - d(x))).mean()
    (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    descend(d, loss + 0.25 * gradient.flatten(1).square().sum(1).mean())
    descend(g, torch.log1p(torch.exp(d(real) - d(g(z2)))).mean())
    assert_same_weights(module.generator, g, rtol=1e-4, atol=1e-6)
    assert_same_weights(module.discriminator, d, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("loss", "same"), [(RelativisticPairing(), True), (RelativisticAverage(), False)], ids=str)
def test_accumulated_pairs_equal_the_whole_batch_but_averages_do_not(loss, same):
    options = {"generator_optimizer": SGD, "discriminator_optimizer": SGD}
    whole = build(GAN, loss=loss, **options)
    parts = build(GAN, loss=loss, generator_accumulate=3, discriminator_accumulate=3, **options)
    for module in (whole, parts):
        fit(module, steps=3)
    difference = nn.utils.parameters_to_vector(whole.parameters()) - nn.utils.parameters_to_vector(parts.parameters())
    assert (difference.abs().max() < 1e-6) == same


def test_relativistic_scores_come_from_one_pass_of_a_frozen_discriminator():
    passes = []
    module = build(GAN, loss=RelativisticPairing())

    def watch(_, inputs):
        passes.append((len(inputs[0]), any(p.requires_grad for p in module.discriminator.parameters())))

    module.discriminator.register_forward_pre_hook(watch)
    fit(module, steps=1)
    assert passes == [(64, True), (64, False)]


def test_relativistic_generators_of_batch_norm_discriminators_score_real_and_fake_apart():
    module = build(GAN, loss=RelativisticAverage())
    module.shared_pass = False
    real, z = torch.rand(6, 1, 8, 8), torch.randn(6, 4)
    loss, _ = module.generator_loss(z, real)
    r, f = module.discriminator(real), module.discriminator(module.generator(z))
    expected = F.softplus(-(f - r.mean())).mean() + F.softplus(r - f.mean()).mean()
    torch.testing.assert_close(loss, expected)
