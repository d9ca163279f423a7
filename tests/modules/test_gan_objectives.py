"""What the players of a GAN are shown: pairs, packs, noise, penalties by turns."""

import dataclasses
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from test_update import build, fit
from torch import nn
from torch.nn import functional as F

from lit_gen import GAN
from lit_gen.losses import DRAGAN, R1, R1R2, GradientPenalty, Hinge, RelativisticAverage, RelativisticPairing
from lit_gen.modules.adversarial import GANDraw
from lit_gen.networks import MLPDiscriminator, MLPGenerator

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


def test_relativistic_scores_come_from_one_pass_and_from_two_of_a_frozen_discriminator():
    """For the generator the data's scores need no graph, which a common pass would keep."""
    passes = []
    module = build(GAN, loss=RelativisticPairing())

    def watch(_, inputs):
        passes.append((len(inputs[0]), any(p.requires_grad for p in module.discriminator.parameters())))

    module.discriminator.register_forward_pre_hook(watch)
    fit(module, steps=1)
    assert passes == [(64, True), (32, False), (32, False)]


def test_relativistic_generators_of_batch_norm_discriminators_score_real_and_fake_apart():
    module = build(GAN, loss=RelativisticAverage())
    module.shared_pass = False
    real, z = torch.rand(6, 1, 8, 8), torch.randn(6, 4)
    loss, _ = module.generator_loss(GANDraw(real, z, torch.rand(6)))
    r, f = module.discriminator(real), module.discriminator(module.generator(z))
    expected = F.softplus(-(f - r.mean())).mean() + F.softplus(r - f.mean()).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("interval", [1, 3])
def test_a_lazy_penalty_is_part_of_every_kth_update_times_k(interval):
    terms = []

    class Watch(GAN):
        def discriminator_loss(self, draw):
            loss, values = super().discriminator_loss(draw)
            plain = self.loss.discriminator(values["real_score"], values["fake_score"])
            assert ("penalty" in values) == (self.updates["discriminator"] % interval == 0)
            terms.append(((loss - plain) / values["penalty"]).item() if "penalty" in values else 0.0)
            if "penalty" not in values:  # two orders of one sum
                torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
            return loss, values

    # The scores stay within (-1, 1), where the hinge is linear: the loss of their means is the mean loss.
    module = build(Watch, loss=Hinge(), penalty=GradientPenalty(weight=2.0, interval=interval))
    fit(module, steps=7)
    expected = [float(interval) if step % interval == 0 else 0.0 for step in range(7)]
    assert terms == pytest.approx(expected, rel=1e-4)


def test_lazy_penalties_follow_the_count_that_checkpoints_hold():
    module = build(GAN, penalty=R1(interval=4))
    module.on_load_checkpoint({"lit_gen": {"updates": {"discriminator": 7}}})
    draw = GANDraw(torch.rand(4, 1, 8, 8), torch.randn(4, 4), torch.rand(4))
    assert "penalty" not in module.discriminator_loss(draw)[1]
    module.updates["discriminator"] += 1
    assert "penalty" in module.discriminator_loss(draw)[1]


def test_a_penalty_skipped_at_the_logged_step_is_logged_by_its_last_value():
    logged = []

    class Watch(GAN):
        def log_dict(self, values, **kwargs):
            logged.extend([values["train/penalty"].item()] if "train/penalty" in values else [])

    fit(build(Watch, penalty=R1(interval=4)), steps=5, log_every_n_steps=1)
    assert len(logged) == 5
    assert logged[0] == logged[1] == logged[2] == logged[3] != logged[4]


def test_the_optimizers_correction_for_a_lazy_penalty():
    for correct, lr, betas in [(False, 2e-4, (0.5, 0.999)), (True, 2e-4 * 0.8, (0.5**0.8, 0.999**0.8))]:
        module = build(GAN, penalty=R1(interval=4, correct_optimizer=correct))
        discriminator, generator = (player["optimizer"].param_groups[0] for player in module.configure_optimizers())
        assert discriminator["lr"] == pytest.approx(lr)
        assert discriminator["betas"] == pytest.approx(betas)
        assert (generator["lr"], generator["betas"]) == (2e-4, (0.5, 0.999))
    module = build(GAN, penalty=R1(interval=4, correct_optimizer=True), discriminator_optimizer=SGD)
    with pytest.raises(ValueError, match="correct_optimizer=True: SGD has no betas"):
        module.configure_optimizers()


@pytest.mark.parametrize("penalty", [DRAGAN(variance=0.1), R1R2(weight=1.0)], ids=str)
def test_accumulated_parts_of_new_penalties_equal_the_whole_batch(penalty):
    options = {"penalty": penalty, "instance_noise": 0.1, "generator_optimizer": SGD, "discriminator_optimizer": SGD}
    whole = build(GAN, **options)
    parts = build(GAN, generator_accumulate=2, discriminator_accumulate=3, **options)
    for module in (whole, parts):
        fit(module, steps=3)
    assert_same_weights(whole, parts, rtol=1e-4, atol=1e-6)


def test_dragan_draws_one_number_for_each_pixel():
    module = build(GAN, penalty=DRAGAN())
    module.random.reseed(0)
    assert module.uniform(5).shape == (5, 1, 8, 8)
    assert build(GAN, penalty=R1()).uniform(5).shape == build(GAN).uniform(5).shape == (5,)


def test_the_discriminator_sees_all_images_with_instance_noise_that_ends_on_time():
    stds = {"real": [], "fake": [], "generator": []}

    class Watch(GAN):
        def discriminator_loss(self, draw):
            blurs = [torch.zeros(1) if x is None else x for x in (draw.real_view, draw.fake_view)]
            assert torch.equal(draw.real, self.clean)
            stds["real"].append(blurs[0].std().nan_to_num().item())
            stds["fake"].append(blurs[1].std().nan_to_num().item())
            plain = super().discriminator_loss(dataclasses.replace(draw, fake_view=None))
            noisy = super().discriminator_loss(draw)
            assert (plain[0] != noisy[0]) == bool(blurs[1].any())
            return noisy

        def generator_loss(self, draw):
            blur = torch.zeros(1) if draw.fake_view is None else draw.fake_view
            stds["generator"].append(blur.std().nan_to_num().item())
            expected = self.loss.generator(self.discriminator(self.generator(draw.z) + blur))
            loss = super().generator_loss(draw)
            torch.testing.assert_close(loss[0], expected)
            return loss

        def training_step(self, batch, batch_idx):
            self.clean = batch[0]
            super().training_step(batch, batch_idx)

    fit(build(Watch, instance_noise=0.4, instance_noise_images=128), steps=6)
    assert stds["real"] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0, 0.0], rel=0.06)
    assert stds["fake"] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0, 0.0], rel=0.06)
    assert stds["generator"] == pytest.approx(
        [0.3, 0.2, 0.1, 0.0, 0.0, 0.0], rel=0.06
    )  # after the discriminator's 32 images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"instance_noise": -0.1}, "instance_noise=-0.1"),
        ({"instance_noise": float("nan")}, "instance_noise=nan"),
        ({"instance_noise_images": 0}, "instance_noise_images=0"),
        ({"pack": 0}, "pack=0"),
        ({"ema_ramp_up": 0.0}, "ema_ramp_up=0"),
        ({"standing_batches": -1}, "standing_batches=-1"),
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(GAN, **arguments)


@pytest.mark.parametrize(("shape", "packed"), [((3, 8, 8), (6, 8, 8)), ((5,), (10,))], ids=str)
def test_a_pack_joins_the_channels_of_samples_half_a_batch_apart(shape, packed):
    module = GAN(shape, 4, MLPGenerator, partial(MLPDiscriminator, width=8), pack=2, penalty=DRAGAN())
    assert module.discriminator.image_shape == packed
    x, z = torch.randn(6, *shape), torch.randn(6, 4)
    packing = module.view.packing
    joined = packing.pack(x)
    draw = GANDraw(joined, packing.group(z), module.uniform(len(joined)))
    torch.testing.assert_close(joined, torch.stack([torch.cat([x[i], x[i + 3]]) for i in range(3)]))
    torch.testing.assert_close(module.generated(draw), packing.pack(module.generator(z)))
    assert module.uniform(len(joined)).shape == (3, *packed)
    real_scores, fake_scores, _ = module.judge().both(joined, module.generated(draw))
    assert real_scores.shape == fake_scores.shape == (3,)
    with pytest.raises(ValueError, match=r"pack=2: the batch of 5 samples"):
        packing.group(x[:5])


def test_one_packed_step_of_plain_pytorch():
    options = {"generator_optimizer": SGD, "discriminator_optimizer": SGD, "ema_half_life": None}
    module = build(GAN, pack=4, loss=Hinge(), penalty=GradientPenalty(weight=2.0), **options)
    oracle = build(GAN, pack=4)
    recorder = Recorder()
    fit(module, steps=1, callbacks=[recorder])
    assert module.images_seen == 32

    def packs(x):
        return torch.stack([torch.cat([x[i + 8 * k] for k in range(4)]) for i in range(8)])

    g, d = oracle.generator, oracle.discriminator
    module.random.reseed(3, "train", 0)
    z, epsilon, z2 = module.noise(32), module.random.uniform(8), module.noise(32)
    real, fake = packs(recorder.batches[0]), packs(g(z)).detach()
    x = torch.lerp(fake, real, epsilon[:, None, None, None]).requires_grad_()
    (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    descend(d, (1 - d(real)).relu().mean() + (1 + d(fake)).relu().mean() + 2 * penalty)
    descend(g, -d(packs(g(z2))).mean())
    assert_same_weights(module.generator, g, rtol=1e-4, atol=1e-6)
    assert_same_weights(module.discriminator, d, rtol=1e-4, atol=1e-6)


def test_accumulated_packs_equal_the_whole_batch():
    options = {"pack": 2, "loss": RelativisticPairing(), "generator_optimizer": SGD, "discriminator_optimizer": SGD}
    whole = build(GAN, **options)
    parts = build(GAN, generator_accumulate=3, discriminator_accumulate=5, **options)
    for module in (whole, parts):
        fit(module, steps=3)
    assert_same_weights(whole, parts, rtol=1e-4, atol=1e-6)


def test_samples_are_never_packed():
    assert build(GAN, pack=2).sample(3).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("minibatch", ["stddev", "discrimination"])
def test_discriminators_that_compare_samples_see_real_and_fake_apart(minibatch):
    sizes = []
    options = {"discriminator": partial(MLPDiscriminator, width=16, depth=1, minibatch=minibatch)}
    module = build(GAN, penalty=R1R2(), **options)
    module.discriminator.register_forward_hook(lambda *call: sizes.append(len(call[-1])))
    fit(module, steps=1)
    assert sizes == [32] * 5  # scores of real and fake, their penalties, the generator's
    assert not module.shared_pass
    assert build(GAN).shared_pass
