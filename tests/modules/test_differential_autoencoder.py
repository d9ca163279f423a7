"""Autoencoders through the trainer against their training in plain PyTorch, in float64, over their options' pairs."""

import copy
from functools import partial

import pytest
import torch
from differential import assert_resumes, batches, default_float64, fit
from pairs import covering, name_of
from plain_gan import SEED
from torch.nn import functional as F

from lit_gen import Autoencoder
from lit_gen.losses import L1, L2, R1, Hinge, NonSaturating, RelativisticPairing
from lit_gen.modules import DiscriminatorFeatures
from lit_gen.networks import FSQ, LFQ, ConvDecoder, ConvEncoder, GaussianBottleneck, PatchGAN, VectorQuantizer
from lit_gen.training.randomness import Randomness, mix

SHAPE = (1, 7, 8)
SIZES = (6, 5, 4, 2)
BOTTLENECKS = {
    "gaussian": partial(GaussianBottleneck, channels=2, kl_weight=0.5),
    "vectors": partial(VectorQuantizer, codes=5, channels=2, restart_below=0.4, decay=0.8),
    "fsq": partial(FSQ, levels=(4, 3)),
    "lfq": partial(LFQ, bits=3),
}
LOSSES = {"NonSaturating": NonSaturating(), "Hinge": Hinge(), "RelativisticPairing": RelativisticPairing()}
FACTORS = {
    "bottleneck": tuple(BOTTLENECKS),
    "reconstruction": (L1(), L2()),
    "perceptual": (False, True),
    "loss": tuple(LOSSES),
    "penalty": (0, 1, 2),  # its interval
    "start": ((0, 0), (6, 7)),
    "parts": (1, 2),
    "average": (False, True),
}
PLAIN = {name: values[0] for name, values in FACTORS.items()}


def build(case):
    torch.manual_seed(0)
    networks = {"widths": (4, 4), "blocks": 1, "groups": 2}
    start, ramp = case["start"]
    module = Autoencoder(
        SHAPE,
        BOTTLENECKS[case["bottleneck"]],
        encoder=partial(ConvEncoder, **networks),
        decoder=partial(ConvDecoder, **networks),
        discriminator=partial(PatchGAN, width=4, norm="none"),
        reconstruction=case["reconstruction"],
        perceptual=DiscriminatorFeatures(2.0) if case["perceptual"] else None,
        loss=LOSSES[case["loss"]],
        penalty=R1(0.3, interval=case["penalty"]) if case["penalty"] else None,
        adversarial_weight=0.7,
        adversarial_start=start,
        adversarial_ramp=ramp,
        ema_half_life=10 if case["average"] else None,
        ema_ramp_up=None,
        autoencoder_optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.5),
        discriminator_optimizer=partial(torch.optim.SGD, lr=0.2),
        autoencoder_accumulate=case["parts"],
        discriminator_accumulate=case["parts"],
    )
    with torch.no_grad():
        for parameter in module.discriminator.parameters():
            parameter.mul_(8)  # from N(0, 0.02²), of which no score is made
    return module


class Plain:
    """The loop, with whole batches, whole graphs and every gradient taken where the formula has it."""

    def __init__(self, module, case):
        self.case = case
        self.encoder, self.decoder = copy.deepcopy(module.encoder), copy.deepcopy(module.decoder)
        self.bottleneck, self.judge = copy.deepcopy(module.bottleneck), copy.deepcopy(module.discriminator)
        self.bottleneck.batch_mean = None
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.5)
        self.judges = torch.optim.SGD(self.judge.parameters(), lr=0.2)
        self.average = copy.deepcopy(self.decoder)
        self.seen = 0

    def train(self, batches):
        random = Randomness()
        for step, (x, _) in enumerate(batches):
            random.reseed(SEED, "train", step)
            noise = random.normal(len(x), 2, 4, 4) if self.case["bottleneck"] == "gaussian" else None
            images, encoded = self.autoencoder_step(x, noise)
            if self.bottleneck.learns:
                self.bottleneck.learn(encoded, torch.Generator().manual_seed(mix(SEED, "codebook", step)))
            self.judges_step(step, x, images)

    def autoencoder_step(self, x, noise):
        encoded = self.encoder(x)
        code = self.bottleneck(encoded, noise)
        images = self.decoder(code.latents)
        error = images - x
        distance = error.abs().mean() if self.case["reconstruction"] == L1() else (error**2).mean()
        if self.case["perceptual"]:
            maps = zip(self.maps(images), self.maps(x), strict=True)
            distances = [F.mse_loss(made, target.detach()) for made, target in maps]
            distance = distance + 2.0 * sum(distances) / len(distances)
        start, ramp = self.case["start"]
        share = 0.7 * (0 if self.seen < start else 1 if ramp == 0 else min(1, (self.seen - start) / ramp))
        deceit = self.deceit(images, x)
        last = self.decoder.conv_out.weight
        ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (distance, deceit))
        gain = min(float(ours.norm() / (theirs.norm() + 1e-4)), 1e4)
        self.optimizer.zero_grad()
        (distance + code.loss + share * gain * deceit).backward()
        self.optimizer.step()
        self.seen += len(x)
        keep = 0.5 ** (len(x) / 10)
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.decoder.parameters(), strict=True):
                mean.copy_(keep * mean + (1 - keep) * weight)
        return images.detach(), encoded.detach()

    def deceit(self, images, x):
        f, r = self.judge(images), self.judge(x)
        return {
            "NonSaturating": lambda: F.softplus(-f).mean(),
            "Hinge": lambda: -f.mean(),
            "RelativisticPairing": lambda: F.softplus(r - f).mean(),
        }[self.case["loss"]]()

    def maps(self, x):
        """Outputs of all convolutions but the last."""
        found = []
        for layer in self.judge.layers[:-1]:
            x = layer(x)
            found += [x] if isinstance(layer, torch.nn.Conv2d) else []
        return found

    def judges_step(self, step, x, images):
        x = x.clone().requires_grad_()
        r, f = self.judge(x), self.judge(images)
        loss = {
            "NonSaturating": lambda: F.softplus(-r).mean() + F.softplus(f).mean(),
            "Hinge": lambda: F.relu(1 - r).mean() + F.relu(1 + f).mean(),
            "RelativisticPairing": lambda: F.softplus(f - r).mean(),
        }[self.case["loss"]]()
        if (interval := self.case["penalty"]) and step % interval == 0:
            (gradient,) = torch.autograd.grad(r.sum(), x, create_graph=True)
            loss = loss + interval * 0.3 / 2 * gradient.square().flatten(1).sum(1).mean()
        self.judges.zero_grad()
        loss.backward()
        self.judges.step()


@pytest.mark.parametrize("case", covering(FACTORS, lambda case: False), ids=lambda case: name_of(case, PLAIN))
def test_training_equals_plain_pytorch(case):
    module = build(case).double()
    plain, seen = Plain(module, case), batches(list(SIZES), SHAPE, 3, torch.float64)
    fit(module, seen)
    with default_float64():
        plain.train(seen)
    expected = {"encoder": plain.encoder, "decoder": plain.decoder, "discriminator": plain.judge}
    expected["bottleneck"] = plain.bottleneck
    if case["average"]:
        expected["averages.decoder.network"] = plain.average
    for name, network in expected.items():
        found, wanted = module.get_submodule(name).state_dict(), network.state_dict()
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    assert module.images_seen == sum(SIZES)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_a_run_resumed_after_any_batch_is_the_uninterrupted_one(bottleneck, assert_same, tmp_path):
    case = {**PLAIN, "bottleneck": bottleneck, "start": (6, 7), "penalty": 2, "average": True}
    assert_resumes(partial(build, case), batches([6, 5, 4], SHAPE, 3, torch.float32), assert_same, tmp_path)
