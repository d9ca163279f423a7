"""What discriminators see is augmented, in every game and step, and what adapts does so everywhere alike."""

import dataclasses
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from invariances import assert_invariant, fit, seeded
from lit_gen.modules.unrolled import UnrolledSGD
from test_cyclegan import build as build_cyclegan
from test_cyclegan import fit as fit_cyclegan
from test_cyclegan import images as two_domains
from torch.nn import functional as F

from datamodules import RecolouredDigitsDataModule
from lit_gen import GAN, WGAN, WGANGP, CycleGAN
from lit_gen.cli.app import main
from lit_gen.losses import R1, Hinge, LeastSquares, NonSaturating, RelativisticPairing, Wasserstein
from lit_gen.modules import ADA, Augmentation, Consistency, DiffAugment, LeCam
from lit_gen.networks import MLPDiscriminator, MLPGenerator
from lit_gen.training.augmentation.ada import followed

SHAPE = (1, 8, 8)
MLP = {
    "latent_dim": 4,
    "generator": partial(MLPGenerator, width=16, depth=1, norm="none"),
    "discriminator": partial(MLPDiscriminator, width=16, depth=1),
    "ema_half_life": 200,
}
AUXILIARY = partial(MLPDiscriminator, width=16, depth=1, condition="auxiliary")
PARTS = {"generator_accumulate": 2, "discriminator_accumulate": 2}


def adaptive(**parts):
    ada = ADA(p=0.4, interval=3, speed_images=3000)
    return GAN(SHAPE, penalty=R1(0.5), regularizer=LeCam(), augmentation=ada, **MLP, **parts)


@dataclass(frozen=True)
class Shifted(NonSaturating):
    """As if its scores had no zero point: p then follows a mean over the whole batch."""

    boundary = None


def of_packs(**parts):
    ada = ADA("bgcfnc", target=0.0, p=0.5, interval=3, speed_images=2000)
    options = {"regularizer": Consistency(), "instance_noise": 0.1, "n_critic": 2}
    return GAN(SHAPE, loss=Shifted(), augmentation=ada, pack=2, **options, **MLP, **parts)


@pytest.mark.parametrize("make", [adaptive, of_packs])
def test_the_four_invariances(make, assert_same, tmp_path):
    """With p too, which has moved in 20 steps."""
    assert_invariant(make, PARTS, assert_same, tmp_path)


def test_p_moves_and_is_logged_and_in_the_checkpoint():
    module = seeded(adaptive)
    fit(module, max_steps=6)
    moved = module.memories["augmentation"].p.item() - 0.4
    steps = moved * 3000 / 96  # two, each up or down by three batches of 32
    assert steps == pytest.approx(round(steps), abs=1e-3)
    assert round(steps) in (-2, 0, 2)
    used = module._losses["discriminator"]["augmentation_p"].item()  # by the last update: one step's
    assert abs(used - 0.4) == pytest.approx(96 / 3000, rel=1e-4)
    assert "memories.augmentation.p" in module.state_dict()


@dataclass(frozen=True)
class Brighter(Augmentation):
    """Adds a number of its own to each image, and keeps count of whom it has seen."""

    def numbers(self, image_shape):
        return 1

    def __call__(self, images, numbers, memory=None):
        return images + numbers[:, :, None, None].to(images)


def test_losses_and_penalty_of_one_draw_by_hand():
    """D's step, its penalty in the images themselves, and G's step all see images through the numbers of the draw."""
    module = seeded(partial(GAN, SHAPE, loss=NonSaturating(), penalty=R1(0.6), augmentation=DiffAugment(), **MLP))
    module.double()
    torch.manual_seed(2)
    draw = module.draw((torch.rand(6, *SHAPE), torch.zeros(6)))
    draw = dataclasses.replace(draw, **{k: v.double() for k, v in draw.tensors.items()})
    augment, d, g = DiffAugment(), module.discriminator, module.generator
    x = draw.real.clone().requires_grad_()
    scores, fakes = d(augment(x, draw.real_view)), d(augment(g(draw.z), draw.fake_view))
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    penalty = 0.3 * gradient.flatten(1).square().sum(1).mean()
    loss, values = module.discriminator_loss(draw)
    torch.testing.assert_close(values["penalty"], penalty)
    torch.testing.assert_close(loss, F.softplus(-scores).mean() + F.softplus(fakes).mean() + penalty)
    loss, _ = module.generator_loss(draw)
    torch.testing.assert_close(loss, F.softplus(-fakes).mean())
    of_images = torch.autograd.grad(loss, list(g.parameters()))
    expected = torch.autograd.grad(F.softplus(-fakes).mean(), list(g.parameters()))
    torch.testing.assert_close(of_images, expected)


def test_a_penalty_between_images_looks_where_the_discriminator_does():
    module = seeded(partial(WGANGP, SHAPE, augmentation=Brighter(), **MLP))
    draw = module.draw((torch.rand(6, *SHAPE), torch.zeros(6)))
    real = draw.real + draw.real_view[:, :, None, None]
    fake = (module.generator(draw.z) + draw.fake_view[:, :, None, None]).detach()
    expected = module.penalty(module.discriminator, real, fake, draw.epsilon)
    torch.testing.assert_close(module.discriminator_loss(draw)[1]["penalty"], expected)


def test_at_probability_zero_the_losses_are_those_without():
    module = seeded(partial(GAN, SHAPE, penalty=R1(0.6), augmentation=ADA(target=None), **MLP))
    plain = seeded(partial(GAN, SHAPE, penalty=R1(0.6), **MLP))
    draw = module.draw((torch.rand(6, *SHAPE), torch.zeros(6)))
    bare = dataclasses.replace(draw, real_view=None, fake_view=None)
    for name in ("discriminator_loss", "generator_loss"):
        assert torch.equal(getattr(module, name)(draw)[0], getattr(plain, name)(bare)[0])


@pytest.mark.parametrize(
    "make",
    [
        partial(WGAN, SHAPE, **MLP),
        partial(GAN, SHAPE, unroll=UnrolledSGD(2), **MLP),
        partial(GAN, SHAPE, loss=RelativisticPairing(), reuse_fakes=True, **MLP),
        partial(GAN, SHAPE, conditional=True, num_classes=10, **{**MLP, "discriminator": AUXILIARY}),
    ],
    ids=["WGAN", "unrolled", "reused fakes", "auxiliary"],
)
def test_every_game_is_played_with_it(make):
    module = seeded(partial(make, augmentation=ADA(p=0.4, interval=1, speed_images=1000)))
    before = [p.clone() for p in module.generator.parameters()]
    fit(module, max_steps=5)
    assert all(p.isfinite().all() for p in module.parameters())
    assert any(not torch.equal(p, old) for p, old in zip(module.generator.parameters(), before, strict=True))
    assert module.memories["augmentation"].p.item() != pytest.approx(0.4)


@pytest.mark.parametrize(
    ("loss", "sign"),
    [
        (Hinge(), 1.0),
        (NonSaturating(), 1.0),
        (LeastSquares(), 0.0),
        (Wasserstein(), -0.5),
        (RelativisticPairing(), -0.5),
    ],
    ids=str,
)
def test_signs_are_taken_where_the_discriminator_cannot_tell(loss, sign):
    """Real scores 0.3, 0.4, 0.6, 1.1 (mean 0.6), generated ones of mean 1.5: midway is 1.05."""
    real, fake = torch.tensor([0.3, 0.4, 0.6, 1.1]), torch.full((4,), 1.5)
    told = followed(ADA().memory(), loss, real, fake, lambda x: x)
    assert told["real_sign"].item() == pytest.approx(sign)
    assert followed(None, loss, real, fake, lambda x: x) == {}


# ---- two domains


def cyclegan(**options):
    ada = ADA(p=0.3, interval=1, speed_images=100)
    return build_cyclegan(loss=LeastSquares(), augmentation=ada, **options)


def test_each_domain_s_discriminator_sees_its_images_augmented():
    module = build_cyclegan(augmentation=Brighter()).double()
    a, b = two_domains()
    numbers = torch.arange(16, dtype=torch.float64).view(4, 4, 1) / 10

    def score(domain, x, i):
        return getattr(module, f"discriminator_{domain}")(x + numbers[i][:, :, None, None])

    _, values, (fake_a, fake_b) = module.generator_loss(a, b, *numbers)
    torch.testing.assert_close(values["adversarial_ab"], 0.5 * (score("b", fake_b, 3) - 1).square().mean())
    torch.testing.assert_close(values["adversarial_ba"], 0.5 * (score("a", fake_a, 2) - 1).square().mean())
    plain = build_cyclegan().double().generator_loss(a, b)[1]
    torch.testing.assert_close(values["cycle_a"], plain["cycle_a"])
    _, values = module.discriminator_loss(a, b, fake_a, fake_b, *numbers)
    for domain, x, fake, i in [("a", a, fake_a, 0), ("b", b, fake_b, 1)]:
        expected = 0.5 * ((score(domain, x, i) - 1).square().mean() + score(domain, fake, i + 2).square().mean())
        torch.testing.assert_close(values[f"discriminator_{domain}"], expected)


def test_each_domain_has_a_probability_of_its_own_that_a_resumed_run_keeps(assert_same, tmp_path):
    whole, first, resumed = cyclegan(), cyclegan(), cyclegan()
    data = partial(RecolouredDigitsDataModule, batch_size=8)
    fit_cyclegan(whole, steps=4, data=data())
    trainer = fit_cyclegan(first, steps=2, data=data())
    trainer.save_checkpoint(tmp_path / "middle.ckpt")
    assert isinstance(resumed, CycleGAN)
    trainer = fit_cyclegan(resumed, steps=2, data=data())  # another start, which the checkpoint replaces
    resumed = CycleGAN.load_from_checkpoint(tmp_path / "middle.ckpt", weights_only=True)
    for domain in ("a", "b"):
        name = f"memories.augmentation_{domain}.p"
        assert resumed.state_dict()[name] == first.state_dict()[name] != torch.tensor(0.3)
        assert whole.views[domain].memory is whole.memories[f"augmentation_{domain}"]
    module = cyclegan()
    module.memories["augmentation_a"].tell({"real_sign": torch.tensor(1.0), "images": torch.tensor(10)})
    assert module.memories["augmentation_a"].p.item() == pytest.approx(0.4)
    assert module.memories["augmentation_b"].p.item() == pytest.approx(0.3)


# ---- as users say it


def test_the_command_line_takes_its_options_by_their_short_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    networks = ["--model.generator=MLPGenerator", "--model.discriminator=MLPDiscriminator"]
    options = ["fit", "--model=GAN", "--data=DigitsDataModule", *networks, "--trainer.accelerator=cpu"]
    quick = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--evaluate.extractor=null"]
    ada = ["--model.augmentation", "ADA", "--model.augmentation.target", "0.5"]
    main([*options, *quick, *ada, "--model.augmentation.categories=blit,color", "--experiment=few"])
    (checkpoint,) = tmp_path.glob("runs/few/*/checkpoints/last.ckpt")
    module = GAN.load_from_checkpoint(checkpoint, weights_only=True)
    assert module.view.augmentation == ADA("blit,color", target=0.5)
    for wrong, message in [
        (["DiffAugmnt"], "augmentation: no class DiffAugmnt; did you mean DiffAugment"),
        (["ADA", "--model.augmentation.categories=colour"], "did you mean color?"),
        (["ADA", "--model.augmentation.target=2"], "target=2"),
    ]:
        with pytest.raises(SystemExit):
            main([*options, *quick, "--model.augmentation", *wrong])
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in told, told
    with pytest.raises(SystemExit):
        main([*options[:2], "--data=MixtureDataModule", *options[3:], *quick, "--model.augmentation=ADA"])
    assert "augmentation=ADA: it transforms images (C, H, W)" in capsys.readouterr().err
