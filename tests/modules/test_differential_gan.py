"""GANs through the trainer against their training in plain PyTorch, in float64, over the product of their options."""

from functools import partial

import pytest
import torch
from differential import assert_resumes, batches, default_float64, fit
from lit_gen.modules.unrolled import UnrolledAdam, UnrolledSGD
from pairs import covering, drawn, name_of
from plain_gan import CLASSES, LATENT, PlainGAN
from torch.optim.lr_scheduler import ExponentialLR

from lit_gen import GAN, WGAN, WGANGP
from lit_gen.losses import (
    DRAGAN,
    R1,
    R1R2,
    R2,
    FiniteDifference,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
    WeightClip,
)
from lit_gen.networks import MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam, WGANRMSprop

LOSSES = {
    "NonSaturating": NonSaturating(),
    "Smoothed": NonSaturating(real_label=0.9),
    "Minimax": Minimax(),
    "LeastSquares": LeastSquares(),
    "Hinge": Hinge(),
    "Wasserstein": Wasserstein(),
    "RelativisticPairing": RelativisticPairing(),
    "RelativisticAverage": RelativisticAverage(),
}
PENALTIES = {
    "R1": R1,
    "R2": R2,
    "R1R2": R1R2,
    "GradientPenalty": GradientPenalty,
    "one-sided": partial(GradientPenalty, one_sided=True),
    "DRAGAN": partial(DRAGAN, variance=0.3),
    "FiniteDifference": partial(FiniteDifference, sigma=0.2),
}
UNROLLED = {
    "none": None,
    "SGD": UnrolledSGD(2, lr=0.2),
    "Adam": UnrolledAdam(2, lr=0.2, betas=(0.5, 0.9), eps=1e-2),
}
FACTORS = {
    "loss": tuple(LOSSES),
    "penalty": ("none", *PENALTIES),
    "interval": (1, 2),
    "condition": ("none", "projection", "auxiliary", "concatenation"),
    "pack": (1, 2),
    "d_parts": (1, 2, 3),
    "g_parts": (1, 2, 3),
    "unroll": tuple(UNROLLED),
    "reuse_fakes": (False, True),
    "noise": ("none", "constant", "fading"),
    "n_critic": (1, 2),
    "n_generator": (1, 2),
    "clip": (False, True),
    "optimizer": ("SGD", "Adam", "corrected", "RMSprop"),
    "clip_norm": (False, True),
    "schedule": (False, True),
    "average": ("none", "plain", "ramp"),
    "shape": ((3,), (1, 2, 2)),
}
PLAIN = {name: values[0] for name, values in FACTORS.items()}
SIZES = (7, 6, 4, 1)  # rows: parts of one sample and a last batch of one are among them


def optimizer_of(case):
    """Adam makes steps out of rounding where a gradient is zero but for it; with this rate they stay below 1e-9."""
    return {
        "SGD": partial(torch.optim.SGD, lr=0.05, momentum=0.5),
        "RMSprop": partial(WGANRMSprop, lr=0.01),
    }.get(case["optimizer"], partial(GANAdam, lr=0.01))


def class_of(case):
    """The class whose defaults come nearest."""
    if case["loss"] != "Wasserstein" or case["unroll"] != "none":
        return GAN
    return WGAN if case["clip"] else WGANGP if case["penalty"] == "GradientPenalty" else GAN


def build(case):
    """The module of a case, with weights at which gradients are of the order of 1."""
    torch.manual_seed(0)
    penalty, condition = None, {} if case["condition"] == "none" else {"condition": case["condition"]}
    if case["penalty"] != "none":
        correct = case["optimizer"] == "corrected"
        penalty = PENALTIES[case["penalty"]](weight=0.7, interval=case["interval"], correct_optimizer=correct)
    of_player = {
        "optimizer": optimizer_of(case),
        "scheduler": partial(ExponentialLR, gamma=0.5) if case["schedule"] else None,
        "clip_norm": 0.4 if case["clip_norm"] else None,
    }
    module = class_of(case)(
        case["shape"],
        LATENT,
        generator=partial(MLPGenerator, width=6, depth=1),
        discriminator=partial(MLPDiscriminator, width=6, depth=1, **condition),
        loss=LOSSES[case["loss"]],
        penalty=penalty,
        constraint=WeightClip(0.3) if case["clip"] else None,
        n_critic=case["n_critic"],
        n_generator=case["n_generator"],
        reuse_fakes=case["reuse_fakes"],
        ema_half_life=None if case["average"] == "none" else 10,
        ema_ramp_up=0.5 if case["average"] == "ramp" else None,
        instance_noise=0.0 if case["noise"] == "none" else 0.3,
        instance_noise_images=20 if case["noise"] == "fading" else None,
        pack=case["pack"],
        num_classes=CLASSES,
        conditional=case["condition"] != "none",
        auxiliary_weight=0.5,
        unroll=UNROLLED[case["unroll"]],
        generator_accumulate=case["g_parts"],
        discriminator_accumulate=case["d_parts"],
        **{f"{name}_{key}": value for name in ("generator", "discriminator") for key, value in of_player.items()},
    )
    with torch.no_grad():
        for parameter in (*module.generator.parameters(), *module.discriminator.parameters()):
            parameter.mul_(1.5)
        if case["clip"]:
            module.constraint.prepare(module.discriminator)
        for average in module.averages.values():
            average.network.load_state_dict(module.generator.state_dict())
    return module


def refused(case):
    """What constructors refuse, and what would be another case again."""
    no_penalty = case["penalty"] == "none"
    same = no_penalty and (case["interval"] > 1 or case["optimizer"] == "corrected")
    return same or raises(case)


def raises(case):
    return (
        (case["condition"] != "none" and case["pack"] > 1)
        or (case["unroll"] != "none" and (case["penalty"] != "none" or case["clip"]))
        or (case["reuse_fakes"] and max(case["d_parts"], case["g_parts"]) > 1)
        or (case["penalty"] != "none" and case["optimizer"] == "corrected" and case["interval"] == 1)
    )


def data(case, dtype=torch.float64):
    return batches([size * case["pack"] for size in SIZES], case["shape"], CLASSES, dtype)


def assert_equals_plain_pytorch(case):
    module = build(case).double()
    plain = PlainGAN(module, case)
    seen = data(case)
    trainer = fit(module, seen)
    with default_float64():
        plain.train(seen)
    expected = {"generator": plain.g, "discriminator": plain.d}
    if module.averages:
        expected["averages.generator.network"] = plain.average
    for network, weights in expected.items():
        found = dict(module.get_submodule(network).named_parameters())
        torch.testing.assert_close(found, {k: w.detach() for k, w in weights.items()}, rtol=1e-9, atol=1e-9)
    assert module.updates == plain.updates
    assert module.images_seen == plain.images_seen
    for name, value in plain.values.items():
        assert trainer.callback_metrics[f"train/{name}"].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)


PAIRS = covering(FACTORS, refused)


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: name_of(case, PLAIN))
def test_training_equals_plain_pytorch(case):
    assert_equals_plain_pytorch(case)


@pytest.mark.slow
def test_training_equals_plain_pytorch_in_many_more_cases():
    for case in drawn(FACTORS, refused, 400, seed=1):
        assert_equals_plain_pytorch(case)


@pytest.mark.parametrize("case", drawn(FACTORS, refused, 12, seed=2), ids=lambda case: name_of(case, PLAIN))
def test_a_run_resumed_in_the_middle_is_the_uninterrupted_one(case, assert_same, tmp_path):
    assert_resumes(partial(build, case), data(case, torch.float32), assert_same, tmp_path)


def test_what_is_refused_is_what_the_constructor_refuses():
    for case in drawn(FACTORS, lambda case: False, 300, seed=3):
        if raises(case):
            with pytest.raises(ValueError, match=r"\w+=") as error:
                build(case)
            assert "\n" not in str(error.value)
        else:
            build(case)
