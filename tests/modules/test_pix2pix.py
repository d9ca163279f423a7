"""pix2pix: its objective by a slow reference, one step in plain PyTorch, what D sees, what may be given."""

from functools import partial

import pytest
import torch
from invariances import assert_invariant
from test_cyclegan import fit
from torch import nn
from torch.nn import functional as F

from datamodules import DigitsDataModule, RecolouredDigitsDataModule, UnpairedDataModule
from lit_gen import Pix2Pix, from_pretrained, save_pretrained
from lit_gen.losses import L2, LeastSquares, RelativisticPairing
from lit_gen.modules import DiffAugment
from lit_gen.networks import PatchGAN, ResNetTranslator, UNetTranslator

SHAPE, COLOUR = (1, 8, 8), (3, 8, 8)
SMALL = {
    "generator": partial(ResNetTranslator, width=4, blocks=1, norm="none"),
    "discriminator": partial(PatchGAN, receptive_field=16, width=4, norm="none"),
}


def build(shape=SHAPE, target=COLOUR, kind=Pix2Pix, **options):
    torch.manual_seed(0)
    module = kind(shape, target, **{**SMALL, **options})
    for p in module.parameters():  # far from the published 0.02, so that all terms matter
        nn.init.normal_(p, 0, 0.2)
    return module


def pairs(n=3, seed=0, shapes=(SHAPE, COLOUR)):
    source = torch.Generator().manual_seed(seed)
    return [torch.rand(n, *shape, generator=source, dtype=torch.float64) * 2 - 1 for shape in shapes]


def log(x):
    return x.sigmoid().log()


def test_the_objective_of_the_paper_image_by_image():
    """E log D(x, y) + E log(1 − D(x, G(x))) halved for D; −log D(x, G(x)) + 100 ‖y − G(x)‖₁ for G."""
    module = build().double()
    a, b = pairs()
    g, d = module.generator_ab, module.discriminator
    adversarial, l1, of_d = [], [], []
    with torch.no_grad():
        for x, y in zip(a, b, strict=True):
            made = g(x[None])
            fake, real = d(torch.cat([x[None], made], 1)), d(torch.cat([x[None], y[None]], 1))
            adversarial.append(-log(fake).mean())
            l1.append((made - y).abs().mean())
            of_d.append(-(log(real).mean() + log(-fake).mean()) / 2)
    loss, values, fake = module.generator_loss(a, b)
    adversarial, l1, of_d = (torch.stack(terms).mean().item() for terms in (adversarial, l1, of_d))
    assert values["adversarial"].item() == pytest.approx(adversarial, rel=1e-9)
    assert values["reconstruction"].item() == pytest.approx(l1, rel=1e-9)
    assert loss.item() == pytest.approx(adversarial + 100 * l1, rel=1e-9)
    assert not fake.requires_grad
    assert module.discriminator_loss(a, b, fake)[0].item() == pytest.approx(of_d, rel=1e-9)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_gradients_are_finite_differences(player):
    module = build(reconstruction=L2(), reconstruction_weight=3.0).double()
    a, b = pairs()
    fake = pairs(seed=1)[1]

    def loss():
        return (module.generator_loss(a, b) if player == "generator" else module.discriminator_loss(a, b, fake))[0]

    loss().backward()
    network = module.generator_ab if player == "generator" else module.discriminator
    parameters = list(network.parameters())
    directions = [torch.randn_like(p) for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True)).item()
    values = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for p, d in zip(parameters, directions, strict=True):
                p += step * d
            values.append(loss().item())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)
    assert abs(slope) > 1e-6


def test_one_step_of_plain_pytorch():
    seen = []

    class Watch(Pix2Pix):
        def training_step(self, batch, batch_idx):
            seen.append((batch["a"][0].clone(), batch["b"][0].clone()))
            super().training_step(batch, batch_idx)

    sgd = {f"{player}_optimizer": partial(torch.optim.SGD, lr=0.1) for player in ("generator", "discriminator")}
    options = {"shape": COLOUR, **sgd, "reconstruction_weight": 2.0}
    module, plain = build(kind=Watch, **options), build(**options)
    fit(module, steps=1, data=RecolouredDigitsDataModule(pairs=True, batch_size=8))
    ((a, b),) = seen
    g, d = plain.generator_ab, plain.discriminator
    made = g(a)
    loss = F.softplus(-d(torch.cat([a, made], 1))).mean() + 2 * (made - b).abs().mean()
    gradients = torch.autograd.grad(loss, list(g.parameters()))
    real, fake = d(torch.cat([a, b], 1)), d(torch.cat([a, made.detach()], 1))
    of_d = (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
    gradients += torch.autograd.grad(of_d, list(d.parameters()))
    with torch.no_grad():
        for p, gradient in zip([*g.parameters(), *d.parameters()], gradients, strict=True):
            p -= 0.1 * gradient
    for name, p in plain.named_parameters():
        torch.testing.assert_close(module.get_parameter(name), p, rtol=1e-4, atol=1e-6)


def make(**options):
    sgd = {f"{player}_optimizer": partial(torch.optim.SGD, lr=0.01) for player in ("generator", "discriminator")}
    fixed = {"augmentation": DiffAugment("translation"), "ema_half_life": 100, "reconstruction_weight": 1.0}
    return build(COLOUR, COLOUR, **fixed, **sgd, **options)


def spoil(module, batch):
    batch["a"][0].fill_(float("nan"))


def test_processes_parts_resumed_runs_and_updates_left_out(assert_same, tmp_path):
    parts = {"generator_accumulate": 2, "discriminator_accumulate": 2}
    assert_invariant(make, parts, assert_same, tmp_path, partial(RecolouredDigitsDataModule, pairs=True), spoil)


def test_both_images_of_a_pair_are_augmented_alike():
    module = build(COLOUR, COLOUR, augmentation=DiffAugment("translation"))
    a, _ = pairs(4, shapes=(COLOUR, COLOUR))
    a = a.float()
    numbers = module.view_numbers(a, a)
    true, made = module.seen(a, a, a, tuple(numbers))
    for seen in (true, made):
        torch.testing.assert_close(seen[:, :3], seen[:, 3:])
        assert not torch.equal(seen[:, :3], a)


def test_the_default_networks_are_the_papers():
    """54.414 M parameters of the U-Net with batch norm at 256 pixels, 2.769 M of the 70 x 70 PatchGAN of pairs."""
    module = Pix2Pix((3, 256, 256))
    counts = [sum(p.numel() for p in network.parameters()) for network in (module.generator_ab, module.discriminator)]
    assert [count / 1e6 for count in counts] == [pytest.approx(54.414, abs=5e-4), pytest.approx(2.769, abs=5e-4)]
    dropped = [m for m in module.generator_ab.modules() if isinstance(m, nn.Dropout)]
    assert [m.p for m in dropped] == [0.5] * 3


def test_dropout_is_of_the_first_decoder_layers_and_of_training_alone():
    torch.manual_seed(0)
    network = UNetTranslator((3, 64, 64), width=4, norm="batch", dropout=0.5)
    assert [any(isinstance(m, nn.Dropout) for m in up) for up in network.up] == [False, False, False, True, True, True]
    x = torch.randn(2, 3, 64, 64)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    with pytest.raises(ValueError, match=r"dropout=1.0: .* below 1"):
        UNetTranslator((3, 64, 64), dropout=1.0)


@pytest.mark.parametrize("network", [ResNetTranslator, UNetTranslator])
def test_other_channels_at_any_size_and_through_a_folder(tmp_path, network):
    module = build(generator=partial(network, width=4, norm="none"), loss=LeastSquares())
    images = torch.rand(2, 1, 13, 22) * 2 - 1
    made = module.translate(images)
    assert made.shape == (2, 3, 13, 22)
    assert module.translate(images[:0]).shape == (0, 3, 13, 22)
    save_pretrained(module, tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model")
    torch.testing.assert_close(loaded.translate(images), made)
    assert loaded.target_shape == COLOUR


def test_a_relativistic_loss_compares_pairs():
    module = build(loss=RelativisticPairing()).double()
    a, b = pairs()
    _, values, fake = module.generator_loss(a, b)
    scores = [module.discriminator(torch.cat([a, y], 1)) for y in (b, fake)]
    assert values["adversarial"].item() == pytest.approx(F.softplus(scores[0] - scores[1]).mean().item())


def without_channels(image_shape):
    return ResNetTranslator(image_shape, width=4, blocks=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction_weight": -1.0}, "reconstruction_weight=-1.0"),
        ({"adversarial_weight": float("nan")}, "adversarial_weight=nan"),
        ({"target": (3, 8, 9)}, r"target_shape=\(3, 8, 9\): height and width are those"),
        ({"generator": without_channels}, "generator: takes no out_channels"),
        (
            {"shape": COLOUR, "generator": partial(ResNetTranslator, out_channels=2)},
            "generator: makes 2 channels, domain b has 3",
        ),
    ],
)
def test_what_may_not_be_given(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_data_without_pairs_are_refused():
    with pytest.raises(ValueError, match=r"data: Pix2Pix needs images of two domains.*PairedDataModule"):
        fit(build(SHAPE, SHAPE), steps=1, data=DigitsDataModule())
    module = build(SHAPE, SHAPE)
    unpaired = UnpairedDataModule(DigitsDataModule(), classes_a=[1], classes_b=[2], batch_size=4)
    with pytest.raises(ValueError, match=r"data: Pix2Pix needs counterparts.*PairedDataModule"):
        fit(module, steps=1, data=unpaired)


def test_there_is_no_way_back():
    with pytest.raises(ValueError, match="to='a': 'b'"):
        build().translate(torch.zeros(1, *SHAPE), to="a")
