"""CycleGAN through the trainer against its training in plain PyTorch, in float64, over the product of its options."""

from functools import partial

import pytest
import torch
from differential import assert_resumes, default_float64, fit
from pairs import covering, drawn, name_of
from plain_gan import SEED, discriminator_loss, generator_loss, own_weights, parts_of, stepper
from test_differential_gan import LOSSES
from torch import nn
from torch.nn import functional as F

from lit_gen import CycleGAN
from lit_gen.networks import Discriminator, Translator
from lit_gen.optimizers import GANAdam
from lit_gen.training.randomness import Randomness

SHAPE = (2, 4, 4)
FACTORS = {
    "loss": tuple(LOSSES),
    "identity_factor": (0.5, 0.0),
    "cycle_weight": (3.0, 0.0),
    "adversarial_weight": (2.0, 0.5),
    "pool_size": (5, 0, 3, 50),
    "g_parts": (1, 2, 3),
    "d_parts": (1, 2, 3),
    "optimizer": ("SGD", "Adam"),
    "average": (False, True),
    "patches": (False, True),
}
PLAIN = {name: values[0] for name, values in FACTORS.items()}
SIZES = (4, 3, 1, 1)


class Convolutions(Translator):
    """A hidden layer, tanh at the end."""

    def __init__(self, image_shape):
        super().__init__(image_shape)
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        return translated(dict(self.named_parameters()), x)


class Critic(Discriminator):
    """A score for every pixel, or their sum."""

    def __init__(self, image_shape, patches):
        super().__init__(image_shape)
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 1, 3, padding=1)
        self.patches = patches

    def forward(self, x):
        return scored(dict(self.named_parameters()), x, self.patches)


def translated(w, x):
    hidden = F.conv2d(x, w["first.weight"], w["first.bias"], padding=1).tanh()
    return F.conv2d(hidden, w["second.weight"], w["second.bias"], padding=1).tanh()


def scored(w, x, patches):
    hidden = F.conv2d(x, w["first.weight"], w["first.bias"], padding=1).tanh()
    scores = F.conv2d(hidden, w["second.weight"], w["second.bias"], padding=1)[:, 0]
    return scores if patches else scores.sum((1, 2))


def build(case):
    torch.manual_seed(0)
    optimizer = partial(torch.optim.SGD, lr=0.01) if case["optimizer"] == "SGD" else partial(GANAdam, lr=0.002)
    options = ("identity_factor", "cycle_weight", "adversarial_weight", "pool_size")
    return CycleGAN(
        SHAPE,
        Convolutions,
        partial(Critic, patches=case["patches"]),
        LOSSES[case["loss"]],
        ema_half_life=10 if case["average"] else None,
        ema_ramp_up=None,
        generator_optimizer=optimizer,
        discriminator_optimizer=optimizer,
        generator_accumulate=case["g_parts"],
        discriminator_accumulate=case["d_parts"],
        **{name: case[name] for name in options},
    )


def data(dtype=torch.float64):
    source = torch.Generator().manual_seed(5)
    return [
        {domain: (2 * torch.rand(n, *SHAPE, dtype=dtype, generator=source) - 1, torch.zeros(n)) for domain in "ab"}
        for n in SIZES
    ]


class PlainCycleGAN:
    """The loop, with lists of images for pools."""

    def __init__(self, module, case):
        self.case, names = case, ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
        self.w = {name: own_weights(module.get_submodule(name)) for name in names}
        self.averages = {name: {k: p.detach().clone() for k, p in self.w[name].items()} for name in names[:2]}
        self.pools = {"a": [], "b": []}
        self.steps = []
        for networks in (names[:2], names[2:]):
            weights = {f"{name}.{k}": p for name in networks for k, p in self.w[name].items()}
            if case["optimizer"] == "SGD":
                optimizer = torch.optim.SGD(weights.values(), lr=0.01)
            else:
                optimizer = torch.optim.Adam(weights.values(), lr=0.002, betas=(0.5, 0.999), fused=False, foreach=False)
            self.steps.append(stepper(weights, optimizer))

    def train(self, batches):
        random = Randomness()
        for step, batch in enumerate(batches):
            random.reseed(SEED, "train", step)
            a, b = batch["a"][0], batch["b"][0]
            fake_a, fake_b = translated(self.w["generator_ba"], b), translated(self.w["generator_ab"], a)
            self.steps[0](self.over_parts("g_parts", self.generators, a, b, fake_a, fake_b))
            share = 0.5 ** (len(a) / 10)
            for name, average in self.averages.items():
                new = {k: share * old + (1 - share) * self.w[name][k].detach() for k, old in average.items()}
                self.averages[name] = new
            kept = [
                self.exchanged(domain, fake.detach(), random.uniform(len(a), 2))
                for domain, fake in (("a", fake_a), ("b", fake_b))
            ]
            self.steps[1](self.over_parts("d_parts", self.discriminators, a, b, *kept))

    def over_parts(self, name, loss, *inputs):
        """Only the mean scores of RelativisticAverage are of a part."""
        n = len(inputs[0])
        parts = parts_of(n, self.case[name] if self.case["loss"] == "RelativisticAverage" else 1)
        return sum((rows.stop - rows.start) / n * loss(*(x[rows] for x in inputs)) for rows in parts)

    def scores(self, domain, x):
        return scored(self.w[f"discriminator_{domain}"], x, self.case["patches"])

    def generators(self, a, b, fake_a, fake_b):
        ab, ba = self.w["generator_ab"], self.w["generator_ba"]
        games = [
            generator_loss(self.case["loss"], self.scores(domain, real), self.scores(domain, fake))
            for domain, real, fake in (("a", a, fake_a), ("b", b, fake_b))
        ]
        cycles = (translated(ba, fake_b) - a).abs().mean() + (translated(ab, fake_a) - b).abs().mean()
        same = (translated(ab, b) - b).abs().mean() + (translated(ba, a) - a).abs().mean()
        weight = self.case["cycle_weight"]
        return self.case["adversarial_weight"] * sum(games) + weight * (cycles + self.case["identity_factor"] * same)

    def discriminators(self, a, b, fake_a, fake_b):
        return sum(
            discriminator_loss(self.case["loss"], self.scores(domain, real), self.scores(domain, fake))
            for domain, real, fake in (("a", a, fake_a), ("b", b, fake_b))
        )

    def exchanged(self, domain, fakes, uniform):
        """One image after another: the first fill the pool, then half of them are exchanged with one in it."""
        pool, size, answers = self.pools[domain], self.case["pool_size"], []
        for fake, (chance, place) in zip(fakes, uniform, strict=True):
            if len(pool) < size:
                pool.append(fake)
            elif size > 0 and chance < 0.5:
                i = int(place * size)
                fake, pool[i] = pool[i], fake
            answers.append(fake)
        return torch.stack(answers)


def assert_equals_plain_pytorch(case):
    module = build(case).double()
    plain = PlainCycleGAN(module, case)
    fit(module, data())
    with default_float64():
        plain.train(data())
    expected = plain.w | {f"averages.{name}.network": plain.averages[name] for name in module.averages}
    for name, weights in expected.items():
        found = dict(module.get_submodule(name).named_parameters())
        torch.testing.assert_close(found, {k: w.detach() for k, w in weights.items()}, rtol=1e-9, atol=1e-9)
    for domain, pool in module.pools.items():
        torch.testing.assert_close(pool.images, plain.pools[domain], rtol=1e-9, atol=1e-9)
    assert module.updates == {"generator": len(SIZES), "discriminator": len(SIZES)}
    assert module.images_seen == sum(SIZES)


@pytest.mark.parametrize("case", covering(FACTORS, lambda case: False), ids=lambda case: name_of(case, PLAIN))
def test_training_equals_plain_pytorch(case):
    assert_equals_plain_pytorch(case)


@pytest.mark.slow
def test_training_equals_plain_pytorch_in_many_more_cases():
    for case in drawn(FACTORS, lambda case: False, 200, seed=1):
        assert_equals_plain_pytorch(case)


@pytest.mark.parametrize("case", drawn(FACTORS, lambda case: False, 5, seed=2), ids=lambda case: name_of(case, PLAIN))
def test_a_run_resumed_in_the_middle_is_the_uninterrupted_one(case, assert_same, tmp_path):
    assert_resumes(partial(build, case), data(torch.float32), assert_same, tmp_path)
