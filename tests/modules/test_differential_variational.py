"""VAEs through the trainer against their training in plain PyTorch, in float64, over the product of their options."""

import copy
from functools import partial

import pytest
import torch
from differential import assert_resumes, batches, default_float64, fit
from pairs import covering, drawn, name_of
from plain_gan import CLASSES, SEED, own_weights, stepper
from plain_vae import PlainVAE, log_normal, samples_of

from lit_gen import IWAE, VAE, HierarchicalVAE, losses
from lit_gen.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    ExPostMixture,
    Gaussian,
    GaussianMixture,
    SharedSigmaGaussian,
    StandardNormal,
    VampPrior,
)
from lit_gen.losses import ELBO, LinearWarmUp
from lit_gen.networks import BottomUp, Ladder, MLPDecoder, MLPEncoder, TopDown
from lit_gen.optimizers import VAEAdam
from lit_gen.training.randomness import Randomness

SHAPE = (1, 2, 3)
OBJECTIVES = {
    "ELBO": ELBO(),
    "beta": ELBO(beta=0.3, samples=2),
    "free bits": ELBO(free_bits=0.8, samples=2),
    "warm up": ELBO(beta=0.3, samples=3, warm_up=LinearWarmUp(2)),
    "IWAE": losses.IWAE(samples=3),
    "dreg": losses.IWAE(samples=3, gradient="dreg"),
    "stl": losses.IWAE(samples=1, gradient="stl"),
}
LIKELIHOODS = {
    "Bernoulli": Bernoulli,
    "dynamic": partial(Bernoulli, binarization="dynamic"),
    "ContinuousBernoulli": ContinuousBernoulli,
    "Gaussian": Gaussian,
    "SharedSigma": SharedSigmaGaussian,
}
PRIORS = {
    "StandardNormal": StandardNormal,
    "GaussianMixture": partial(GaussianMixture, components=3),
    "VampPrior": partial(VampPrior, pseudo_inputs=4),
    "ExPostMixture": partial(ExPostMixture, components=2, latents=100),
}
FACTORS = {
    "objective": tuple(OBJECTIVES),
    "likelihood": tuple(LIKELIHOODS),
    "prior": tuple(PRIORS),
    "encoder_steps": (0, 1, 2),
    "parts": (1, 2, 3),
    "conditional": (False, True),
    "average": (False, True),
    "clip_norm": (False, True),
    "optimizer": ("SGD", "Adam"),
}
PLAIN = {name: values[0] for name, values in FACTORS.items()}
SIZES = (7, 6, 4, 1)


def refused(case):
    return case["conditional"] and case["prior"] == "VampPrior"


def optimizer_of(case):
    return partial(torch.optim.SGD, lr=0.01, momentum=0.5) if case["optimizer"] == "SGD" else partial(VAEAdam, lr=0.01)


def build(case):
    torch.manual_seed(0)
    kind = IWAE if case["objective"] in ("IWAE", "dreg", "stl") else VAE
    return kind(
        SHAPE,
        2,
        encoder=partial(MLPEncoder, width=5, depth=1),
        decoder=partial(MLPDecoder, width=5, depth=1),
        likelihood=LIKELIHOODS[case["likelihood"]],
        prior=PRIORS[case["prior"]],
        objective=OBJECTIVES[case["objective"]],
        encoder_steps=case["encoder_steps"],
        optimizer=optimizer_of(case),
        clip_norm=0.4 if case["clip_norm"] else None,
        accumulate=case["parts"],
        ema_half_life=10 if case["average"] else None,
        ema_ramp_up=None,
        num_classes=CLASSES,
        conditional=case["conditional"],
    )


def data(dtype=torch.float64):
    return batches(SIZES, SHAPE, CLASSES, dtype)


def assert_close(module, weights):
    for name, expected in weights.items():
        found = dict(module.get_submodule(name).named_parameters())
        torch.testing.assert_close(found, {k: w.detach() for k, w in expected.items()}, rtol=1e-9, atol=1e-9)


def assert_equals_plain_pytorch(case):
    module = build(case).double()
    plain = PlainVAE(module, case)
    fit(module, data())
    with default_float64():
        plain.train(data())
    assert_close(module, plain.w)
    assert_close(module, {f"averages.{name}.network": plain.averages[name] for name in module.averages})
    assert module.updates == plain.updates
    assert module.images_seen == plain.images_seen
    if case["prior"] == "ExPostMixture":
        assert module.prior.seen == len(plain.latents)
        found = module.prior.latents[: len(plain.latents)]
        torch.testing.assert_close(found, torch.stack(plain.latents), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", covering(FACTORS, refused), ids=lambda case: name_of(case, PLAIN))
def test_training_equals_plain_pytorch(case):
    assert_equals_plain_pytorch(case)


@pytest.mark.slow
def test_training_equals_plain_pytorch_in_many_more_cases():
    for case in drawn(FACTORS, refused, 300, seed=1):
        assert_equals_plain_pytorch(case)


@pytest.mark.parametrize("case", drawn(FACTORS, refused, 8, seed=2), ids=lambda case: name_of(case, PLAIN))
def test_a_run_resumed_in_the_middle_is_the_uninterrupted_one(case, assert_same, tmp_path):
    assert_resumes(partial(build, case), data(torch.float32), assert_same, tmp_path)


# Hierarchies: their networks as they are, the bound and the loop by hand


def build_hierarchy(stack, objective="ELBO", parts=1, convolutional=False):
    torch.manual_seed(0)
    module = HierarchicalVAE(
        (1, 4, 4),
        partial(stack, latent_dims=(3, 2), widths=(4, 4), convolutional=convolutional),
        Bernoulli,
        objective=OBJECTIVES[objective],
        optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.5),
        accumulate=parts,
    )
    for parameter in module.hierarchy.parameters():
        if not parameter.any():  # a top-down posterior begins at the prior: here it shall not
            torch.nn.init.normal_(parameter, std=0.3)
    return module


def bound(hierarchy, objective, x, epsilon, update):
    """The loss by log densities at the samples, but for divergences in closed form where z follows q given those."""
    logits, latents = hierarchy(epsilon, x)
    log_x = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    log_x, ratios, kls = log_x.flatten(2).sum(2), 0.0, []
    for z, q, p, independent in latents:
        ratio = (log_normal(z, *q) - log_normal(z, *p)).flatten(2).sum(2)
        ratios = ratios + ratio
        normals = [torch.distributions.Normal(mean, scale.exp()) for mean, scale in (q, p)]
        closed = torch.distributions.kl_divergence(*normals).flatten(2).sum(2)
        kls.append((closed if independent else ratio).mean())
    if objective == "IWAE":
        return -((log_x - ratios).exp().mean(0).log()).mean()
    if objective == "free bits":
        return -log_x.mean() + sum(kl.clamp(min=0.8) for kl in kls)
    return -log_x.mean() + {"ELBO": 1.0, "beta": 0.3, "warm up": 0.3 * min(1, update / 2)}[objective] * sum(kls)


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("stack", [BottomUp, Ladder, TopDown])
@pytest.mark.parametrize(
    ("objective", "parts"), [("beta", 1), ("ELBO", 3), ("free bits", 1), ("warm up", 2), ("IWAE", 3)]
)
def test_hierarchies_train_as_in_plain_pytorch(stack, objective, parts, convolutional):
    module = build_hierarchy(stack, objective, parts, convolutional).double()
    hierarchy, seen, random = (
        copy.deepcopy(module.hierarchy),
        batches(SIZES, (1, 4, 4), CLASSES, torch.float64),
        Randomness(),
    )
    fit(module, seen)
    weights = dict(hierarchy.named_parameters())
    step = stepper(weights, torch.optim.SGD(weights.values(), lr=0.01, momentum=0.5))
    with default_float64():
        for i, (images, _) in enumerate(seen):
            random.reseed(SEED, "train", i)
            random.uniform(*images.shape)  # for likelihoods that draw
            epsilon = random.normal(len(images), samples_of(objective), hierarchy.latent_dim).transpose(0, 1)
            step(bound(hierarchy, objective, (images + 1) / 2, epsilon, i))
    assert_close(module, {"hierarchy": own_weights(hierarchy)})


@pytest.mark.parametrize("stack", [BottomUp, Ladder, TopDown])
def test_a_hierarchy_resumes(stack, assert_same, tmp_path):
    seen = batches(SIZES, (1, 4, 4), CLASSES, torch.float32)
    assert_resumes(partial(build_hierarchy, stack, "warm up"), seen, assert_same, tmp_path)
