"""CycleGAN: its loss term by term, who moves and who doesn't, its pools, its use."""

import copy
import resource
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch
import yaml
from torch import nn

from datamodules import DataModule, DigitsDataModule, RecolouredDigitsDataModule, UnpairedDataModule
from datamodules.datasets import InMemoryDataset
from lit_gen import CycleGAN, from_pretrained
from lit_gen.cli.support import configs_folder
from lit_gen.losses import Hinge, LeastSquares, RelativisticPairing
from lit_gen.networks import DCGANDiscriminator, PatchGAN, ResNetTranslator, UNetTranslator
from lit_gen.optimizers import GANAdam

SHAPE = (3, 8, 8)
SMALL = {
    "generator": partial(ResNetTranslator, width=4, blocks=1, norm="none"),
    "discriminator": partial(PatchGAN, receptive_field=16, width=4),
}
SGD = {
    "generator_optimizer": partial(torch.optim.SGD, lr=0.1),
    "discriminator_optimizer": partial(torch.optim.SGD, lr=0.1),
}


def build(seed=0, kind=CycleGAN, **kwargs):
    torch.manual_seed(seed)
    module = kind(SHAPE, **{**SMALL, **kwargs})
    for network in networks(module).values():  # far from the published 0.02, so that all terms matter
        for p in network.parameters():
            nn.init.normal_(p, 0, 0.2)
    return module


def networks(module):
    return {n: getattr(module, n) for n in ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")}


def fit(module, steps=3, batch_size=8, data=None, **kwargs):
    warnings.simplefilter("ignore")
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False, **kwargs}
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    L.seed_everything(3, verbose=False)
    trainer.fit(module, datamodule=data or RecolouredDigitsDataModule(batch_size=batch_size))
    return trainer


def images(n=4, seed=0, dtype=torch.float64):
    return (torch.rand(2, n, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1).to(dtype)


def slow_mean(f, x, y):
    """Mean of f over all entries, one after another."""
    values = [f(u, v) for u, v in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)]
    return sum(values) / len(values)


def slow_losses(module, a, b, fake_a=None, fake_b=None):
    """The paper's equations 1 to 4 and section 5.2, image by image; least squares as in section 4."""
    g, f, d_a, d_b = networks(module).values()

    def each(network, x):
        return torch.cat([network(image[None]) for image in x])

    with torch.no_grad():
        fake_b = each(g, a) if fake_b is None else fake_b
        fake_a = each(f, b) if fake_a is None else fake_a
        half_to_one = partial(slow_mean, lambda score, _: (score - 1) ** 2 / 2)
        half_to_zero = partial(slow_mean, lambda score, _: score**2 / 2)
        distance = partial(slow_mean, lambda u, v: abs(u - v))
        scores = {"a": each(d_a, a), "b": each(d_b, b), "fake_a": each(d_a, fake_a), "fake_b": each(d_b, fake_b)}
        to_one, to_zero = ({k: by(v, v) for k, v in scores.items()} for by in (half_to_one, half_to_zero))
        return {
            "adversarial_ab": to_one["fake_b"],
            "adversarial_ba": to_one["fake_a"],
            "cycle_a": distance(each(f, fake_b), a),
            "cycle_b": distance(each(g, fake_a), b),
            "identity_a": distance(each(f, a), a),
            "identity_b": distance(each(g, b), b),
            "discriminator_a": to_one["a"] + to_zero["fake_a"],
            "discriminator_b": to_one["b"] + to_zero["fake_b"],
        }


@pytest.mark.parametrize("norm", ["none", "instance", "layer"])
def test_every_term_by_the_slow_reference(norm):
    generator = partial(UNetTranslator, width=2, norm=norm)
    module = build(generator=generator, cycle_weight=3.0, identity_factor=0.25, adversarial_weight=1.5).double()
    a, b = images()
    slow = slow_losses(module, a, b)
    loss, values, (fake_a, fake_b) = module.generator_loss(a, b)
    for name in ("adversarial_ab", "adversarial_ba", "cycle_a", "cycle_b", "identity_a", "identity_b"):
        assert values[name].item() == pytest.approx(slow[name], rel=1e-9), name
    adversarial = slow["adversarial_ab"] + slow["adversarial_ba"]
    cycle, identity = slow["cycle_a"] + slow["cycle_b"], slow["identity_a"] + slow["identity_b"]
    assert loss.item() == pytest.approx(1.5 * adversarial + 3 * cycle + 0.75 * identity, rel=1e-9)
    torch.testing.assert_close(fake_b, module.generator_ab(a))
    torch.testing.assert_close(fake_a, module.generator_ba(b))
    assert not fake_a.requires_grad
    assert not fake_b.requires_grad

    other_a, other_b = images(seed=1)
    slow = slow_losses(module, a, b, other_a, other_b)
    loss, values = module.discriminator_loss(a, b, other_a, other_b)
    assert loss.item() == pytest.approx(slow["discriminator_a"] + slow["discriminator_b"], rel=1e-9)
    for name in ("discriminator_a", "discriminator_b"):
        assert values[name].item() == pytest.approx(slow[name], rel=1e-9)


def test_the_default_is_the_published_objective():
    """(D(G(a)) − 1)² without ½ in the generators' loss, λ = 10 and ½λ; the discriminators' squares halved."""
    module = build().double()
    a, b = images()
    slow = slow_losses(module, a, b)
    published = 2 * (slow["adversarial_ab"] + slow["adversarial_ba"])
    published += 10 * (slow["cycle_a"] + slow["cycle_b"]) + 5 * (slow["identity_a"] + slow["identity_b"])
    assert module.generator_loss(a, b)[0].item() == pytest.approx(published, rel=1e-9)
    assert isinstance(module.loss, LeastSquares)
    assert module.pools["a"].size == module.pools["b"].size == 50


def test_without_identity_terms_their_passes_are_left_out():
    module, sizes = build(identity_factor=0.0).double(), []
    module.generator_ab.register_forward_hook(lambda *call: sizes.append(len(call[-1])))
    a, b = images()
    loss, values, _ = module.generator_loss(a, b)
    assert sizes == [4, 4]
    assert not any(name.startswith("identity") for name in values)
    slow = slow_losses(module, a, b)
    expected = 2 * (slow["adversarial_ab"] + slow["adversarial_ba"]) + 10 * (slow["cycle_a"] + slow["cycle_b"])
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_gradients_are_finite_differences(player):
    """Along a random direction of each network, through both cycles; discriminators and generators each alone."""
    module = build(generator=partial(UNetTranslator, width=2, norm="instance")).double()
    a, b = images(2)
    fakes = images(2, seed=1)

    def loss():
        return (module.generator_loss(a, b) if player == "generator" else module.discriminator_loss(a, b, *fakes))[0]

    loss().backward()
    for name, network in networks(module).items():
        if not name.startswith(player):
            continue
        parameters = list(network.parameters())
        directions = [torch.randn_like(p) for p in parameters]
        slope = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True)).item()
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                for p, d in zip(parameters, directions, strict=True):
                    p += step * d
                values.append(loss().item())
            for p, d in zip(parameters, directions, strict=True):
                p += 1e-6 * d
        assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4), name
        assert abs(slope) > 1e-6


def test_a_loss_that_compares_real_and_fake():
    module = build(loss=RelativisticPairing()).double()
    a, b = images()
    _, values, (fake_a, fake_b) = module.generator_loss(a, b)
    for name, d, real, fake in (
        ("adversarial_ab", module.discriminator_b, b, fake_b),
        ("adversarial_ba", module.discriminator_a, a, fake_a),
    ):
        assert values[name].item() == pytest.approx(nn.functional.softplus(d(real) - d(fake)).mean().item())


def test_one_step_of_plain_pytorch():
    """By hand with SGD: both generators at once, then both discriminators on the step's own translations."""
    batches = []

    class Watch(CycleGAN):
        def training_step(self, batch, batch_idx):
            batches.append((batch["a"][0], batch["b"][0]))
            super().training_step(batch, batch_idx)

    module, oracle = build(kind=Watch, **SGD), build()
    fit(module, steps=1)
    (a, b), (g, f, d_a, d_b) = batches[0], networks(oracle).values()
    fake_b, fake_a = g(a), f(b)

    def squared(x):
        return x.square().mean()

    def l1(x, y):
        return (x - y).abs().mean()

    loss = squared(d_b(fake_b) - 1) + squared(d_a(fake_a) - 1) + 10 * (l1(f(fake_b), a) + l1(g(fake_a), b))
    loss = loss + 5 * (l1(g(b), b) + l1(f(a), a))
    generators = [*g.parameters(), *f.parameters()]
    gradients = torch.autograd.grad(loss, generators)
    loss_d = squared(d_a(a) - 1) + squared(d_a(fake_a.detach())) + squared(d_b(b) - 1) + squared(d_b(fake_b.detach()))
    discriminators = [*d_a.parameters(), *d_b.parameters()]
    gradients += torch.autograd.grad(loss_d / 2, discriminators)
    with torch.no_grad():
        for p, gradient in zip(generators + discriminators, gradients, strict=True):
            p -= 0.1 * gradient
    for name, network in networks(module).items():
        for p, q in zip(network.parameters(), getattr(oracle, name).parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_generators_and_discriminators_move_in_turn_and_no_gradient_leaks():
    seen = []

    class Watch(CycleGAN):
        def update(self, name, objective, *batch):
            before = {n: copy.deepcopy(network.state_dict()) for n, network in networks(self).items()}
            for network in networks(self).values():
                network.zero_grad()
            stepped = super().update(name, objective, *batch)
            moved, with_gradient = set(), set()
            for n, network in networks(self).items():
                if any(not torch.equal(p, before[n][key]) for key, p in network.state_dict().items()):
                    moved.add(n)
                if any(p.grad is not None and p.grad.any() for p in network.parameters()):
                    with_gradient.add(n)
            seen.append((name, moved, with_gradient))
            return stepped

    trainer = fit(build(kind=Watch), steps=2)
    g, d = {"generator_ab", "generator_ba"}, {"discriminator_a", "discriminator_b"}
    assert seen == [("generator", g, g), ("discriminator", d, d)] * 2
    assert trainer.global_step == 2
    assert trainer.lightning_module.updates == {"generator": 2, "discriminator": 2}
    assert trainer.lightning_module.images_seen == 16


def test_discriminators_learn_from_the_pool():
    """The fakes that they see are the pool's answers to what the generators made in this step."""
    made, judged, numbers = [], [], []

    class Watch(CycleGAN):
        def generator_loss(self, a, b):
            result = super().generator_loss(a, b)
            made.append(result[2])
            return result

        def exchanged(self, domain, fakes):
            uniform = copy.deepcopy(self.random).uniform(len(fakes), 2)
            numbers.append((domain, uniform))
            return super().exchanged(domain, fakes)

        def discriminator_loss(self, a, b, fake_a, fake_b):
            judged.append((fake_a, fake_b))
            return super().discriminator_loss(a, b, fake_a, fake_b)

    module = build(kind=Watch, pool_size=12)
    fit(module, steps=6)
    assert [domain for domain, _ in numbers] == ["a", "b"] * 6
    fresh = module.pools["a"].__class__
    for k in range(2):
        pool = fresh(12)
        expected = [pool(fakes[k], numbers[2 * t + k][1]) for t, fakes in enumerate(made)]
        for t in range(6):
            assert torch.equal(judged[t][k], expected[t])
        assert not torch.equal(judged[5][k], made[5][k])
        assert all(torch.equal(x, y) for x, y in zip(pool.images, module.pools["ab"[k]].images, strict=True))


def test_accumulated_parts_equal_the_whole_batch():
    whole, parts = build(**SGD), build(generator_accumulate=3, discriminator_accumulate=2, **SGD)
    for module in (whole, parts):
        fit(module, steps=3)
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"loss": Hinge()}, {"discriminator": partial(DCGANDiscriminator, width=4)}], ids=str
)
def test_other_losses_and_discriminators_train(options):
    module = build(**options)
    before = copy.deepcopy(module.state_dict())
    fit(module, steps=2)
    assert all(p.isfinite().all() for p in module.parameters())
    assert all(
        any(not torch.equal(before[f"{n}.{k}"], v) for k, v in m.state_dict().items())
        for n, m in networks(module).items()
    )


def test_mixed_precision_trains_in_float32_weights():
    module = build()
    fit(module, steps=3, precision="bf16-mixed")
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in module.parameters())


# ---- use


def test_translations_come_from_averages_in_eval_mode():
    module = build(ema_half_life=50.0, generator=partial(ResNetTranslator, width=4, blocks=1, norm="batch"))
    fit(module, steps=4)
    module.train()
    x = images(dtype=torch.float32)[0]
    g, f = module.averages["generator_ab"].network, module.averages["generator_ba"].network
    assert not torch.equal(next(g.parameters()), next(module.generator_ab.parameters()))
    assert torch.equal(module.translate(x), g.eval()(x))
    assert torch.equal(module.translate(x, to="a"), f.eval()(x))
    assert torch.equal(module.cycle(x), f(g(x)))
    assert torch.equal(module.cycle(x, through="a"), g(f(x)))
    assert module.generator_ab.training
    assert not module.translate(x).requires_grad
    many = x.repeat(20, 1, 1, 1)
    torch.testing.assert_close(module.translate(many), module.translate(x).repeat(20, 1, 1, 1))
    assert module.translate(x[:0]).shape == (0, *SHAPE)


def test_translations_of_any_size_and_never_more_pixels_at_once_than_in_training():
    module, sizes = build(tile=48), []
    module.generator_ab.register_forward_hook(lambda *call: sizes.append(tuple(call[1][0].shape)))
    x = torch.rand(40, 3, 11, 24) * 2 - 1
    y = module.translate(x)
    assert y.shape == x.shape
    assert sizes == [(7, 3, 11, 24)] * 5 + [(5, 3, 11, 24)]
    torch.testing.assert_close(y[3:4], module.generator_ab(x[3:4]))
    wide = torch.rand(1, 3, 5, 130) * 2 - 1
    torch.testing.assert_close(module.cycle(wide), module.generator_ba(module.generator_ab(wide)))
    assert max(size[3] for size in sizes[8:-1]) == 48
    with pytest.raises(ValueError, match=r"tile=10: ResNetTranslator looks 8 pixels around.*at least 17"):
        build(tile=10)
    with pytest.raises(ValueError, match="statistics='fast': must be 'exact' or 'reduced'"):
        build(tile_statistics="fast")


def test_prediction_goes_by_the_domain():
    module = build()
    a, b = images(dtype=torch.float32)
    labels = torch.zeros(4, dtype=torch.int64)
    assert torch.equal(module.predict_step({"a": (a, labels)}, 0), module.translate(a, to="b"))
    assert torch.equal(module.predict_step({"b": (b, labels)}, 0), module.translate(b, to="a"))
    assert torch.equal(module.predict_step((a, labels), 0), module.translate(a, to="b"))


@pytest.mark.parametrize("half_life", [None, 50.0])
def test_one_direction_alone_from_a_checkpoint(tmp_path, half_life):
    module = build(ema_half_life=half_life)
    trainer = fit(module, steps=3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    x = images(dtype=torch.float32)[0]
    for to, part in (("a", "generator_ba"), ("b", "generator_ab")):
        translator = from_pretrained(tmp_path / "last.ckpt", part=part)
        assert isinstance(translator, ResNetTranslator)
        assert not any(p.requires_grad for p in translator.parameters())
        assert torch.equal(translator(x), module.translate(x, to=to))


def test_the_pools_are_in_the_checkpoint(tmp_path):
    module = build(pool_size=5)
    fit(module, steps=2).save_checkpoint(tmp_path / "last.ckpt")
    loaded = CycleGAN.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    for domain in "ab":
        assert len(module.pools[domain].images) == 5
        for x, y in zip(module.pools[domain].images, loaded.pools[domain].images, strict=True):
            assert torch.equal(x, y)
    assert not any("pool" in key for key in module.state_dict())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build(cycle_weight=-1.0), "cycle_weight=-1"),
        (lambda: build(identity_factor=float("nan")), "identity_factor=nan"),
        (lambda: build(adversarial_weight=-0.5), "adversarial_weight=-0.5"),
        (lambda: build(pool_size=-1), "pool_size=-1"),
        (lambda: build().translate(torch.zeros(2, 1, 8, 8)), r"\(2, 1, 8, 8\).*\(3, 8, 8\)"),
        (lambda: build().translate(torch.zeros(2, 3, 8, 8), to="c"), "to='c'"),
        (lambda: build().cycle(torch.zeros(2, 3, 8, 8), through="c"), "to='c'"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_data_of_one_domain_are_refused():
    module = CycleGAN((1, 8, 8), **SMALL)
    with pytest.raises(ValueError, match=r"two domains.*UnpairedDataModule"):
        fit(module, data=DigitsDataModule(batch_size=8))


# ---- the paper's protocol


def horse2zebra():
    return yaml.safe_load((configs_folder() / "cyclegan_horse2zebra.yaml").read_text())


def test_the_config_of_horse2zebra_is_the_papers_protocol():
    """Section 4, 7.1 and 7.2 of the paper: what is trained, for how long, on what."""
    config = horse2zebra()
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    with torch.device("meta"):
        generator = ResNetTranslator((3, 256, 256), **model["generator"]["init_args"])
        discriminator = PatchGAN((3, 256, 256), **model["discriminator"]["init_args"])
    counts = [sum(p.numel() for p in network.parameters()) for network in (generator, discriminator)]
    assert counts == [11_378_179, 2_764_737]
    assert (model["cycle_weight"], model["identity_factor"], model["pool_size"]) == (10, 0.5, 50)
    assert model["adversarial_weight"] * LeastSquares().generator(torch.zeros(1)) == 1  # (0 - 1)², without a half
    assert (data["batch_size"], data["load_size"], data["a"]["init_args"]["image_size"], data["flip"]) == (
        1,
        286,
        256,
        True,
    )
    epoch = 1334  # zebras; 1,067 horses
    for player in ("generator", "discriminator"):
        assert model[f"{player}_optimizer"]["init_args"] == {"lr": 2e-4, "betas": [0.5, 0.999]}
        assert model[f"{player}_scheduler"]["init_args"] == {"constant": 100 * epoch, "decay": 100 * epoch}
    assert config["trainer"]["max_steps"] == 200 * epoch


def full_step(side, **settings):
    torch.manual_seed(0)
    model = CycleGAN((3, side, side), generator_optimizer=GANAdam, pool_size=2)
    data = UnpairedDataModule(Noise(side), classes_a=[0], classes_b=[1], batch_size=1, load_size=side + 30, flip=True)
    before = nn.utils.parameters_to_vector(model.parameters())
    fit(model, steps=1, data=data, **settings)
    moved = (nn.utils.parameters_to_vector(model.parameters()) - before).abs()
    # Adam's first step moves a weight by the learning rate, whatever its gradient.
    assert moved.max().item() == pytest.approx(2e-4, rel=0.01)
    assert (moved > 1.9e-4).float().mean() > 0.95
    assert [tuple(pool.images[0].shape) for pool in model.pools.values()] == [(3, side, side)] * 2
    return model


class Noise(DataModule):
    """Six images of two classes."""

    name = "noise"
    num_classes = 2

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    @property
    def image_shape(self):
        return (3, self.side, self.side)

    def read(self):
        images = torch.randint(0, 256, (6, *self.image_shape), dtype=torch.uint8)
        return {split: InMemoryDataset(images, torch.arange(6) % 2) for split in ("train", "val", "test")}


def test_one_step_of_the_published_networks_at_32_pixels():
    full_step(32)


@pytest.mark.slow
def test_one_step_at_256_pixels():
    """In less than 6 GiB beside what the process held before."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = full_step(256, precision="bf16-mixed")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 6 * 2**20  # KiB
    assert model.discriminator_a(torch.zeros(1, 3, 256, 256)).shape == (1, 30, 30)
    assert model.translate(torch.zeros(2, 3, 256, 256)).shape == (2, 3, 256, 256)
