"""What every prior promises. A new one is one line in EVERY."""

import copy
import json
import math
from functools import partial

import pytest
import torch
from families import unlisted

import lit_gen.distributions
import lit_gen.pretrained.specification as specification
from lit_gen.distributions import (
    ExPostMixture,
    GaussianMixture,
    Prior,
    StandardNormal,
    VampPrior,
    kl_standard_normal,
    normal_log_prob,
)

EVERY = [
    partial(StandardNormal),
    partial(GaussianMixture, components=3),
    partial(VampPrior, pseudo_inputs=4),
    partial(ExPostMixture, components=2, latents=500),
]
DIM, SHAPE = 2, (1, 2, 2)
GRID = torch.linspace(-12, 12, 601, dtype=torch.float64)

every_prior = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.func.__name__)


def log_prob(prior, z):
    return prior(encode).log_prob(z)


def samples(prior, noise, temperature=1.0):
    return prior.ex_post(encode).sample(noise, temperature)


def encode(x):
    """Stands for an inference network: mean and log σ `(N, 2)` of images `(N, 1, 2, 2)`."""
    return 3 * x.flatten(1)[:, :2] - 1.5, x.flatten(1)[:, 2:] / 2 - 1


def build(make, seed=0):
    """A prior in float64 with its parameters off their first values."""
    torch.manual_seed(seed)
    prior = make(DIM, SHAPE).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    return prior


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moments(prior):
    """Mass, mean and covariance of the density, by a sum over a fine grid of the plane."""
    z = torch.cartesian_prod(GRID, GRID)
    mass = log_prob(prior, z).exp().detach() * (GRID[1] - GRID[0]) ** 2
    mean = mass @ z
    return mass.sum(), mean, (mass[:, None] * (z - mean)).T @ (z - mean)


def test_every_public_prior_is_listed():
    assert not unlisted(lit_gen.distributions, Prior, EVERY)


@every_prior
def test_the_density_integrates_to_one_and_samples_have_its_moments(make):
    prior = build(make)
    mass, mean, covariance = moments(prior)
    assert mass.item() == pytest.approx(1, abs=1e-6)
    n = 100_000
    z = samples(prior, normal(n, DIM)).detach()
    assert z.shape == (n, DIM)
    assert ((z.mean(0) - mean).abs() < 5 * z.std(0) / math.sqrt(n)).all()
    torch.testing.assert_close(torch.cov(z.T), covariance, rtol=0.03, atol=0.03)
    # E log p at its own samples, against the same integral: two densities of equal moments differ here.
    points = torch.cartesian_prod(GRID, GRID)
    log_p = log_prob(prior, points).detach()
    entropy = -(log_p.exp() * log_p).sum() * (GRID[1] - GRID[0]) ** 2
    own = -log_prob(prior, z).detach()
    assert abs(own.mean() - entropy) < 5 * own.std() / math.sqrt(n)


@every_prior
def test_the_density_is_of_any_leading_shape_and_its_gradient_that_of_finite_differences(make):
    prior, z = build(make), normal(3, 4, DIM).requires_grad_()
    value = log_prob(prior, z)
    assert value.shape == (3, 4)
    looped = [log_prob(prior, row[None])[0] for row in z.flatten(0, 1)]
    torch.testing.assert_close(value.flatten(), torch.stack(looped))
    assert torch.autograd.gradcheck(partial(log_prob, prior), z)
    value.sum().backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_prior
def test_kl_of_a_gaussian_is_not_negative(make):
    """KL(q ‖ p) by samples of q: zero for N(0, I) against itself, and never below zero by more than its error."""
    prior, noise = build(make), normal(50_000, DIM, seed=1)
    mean, log_scale = torch.tensor([0.5, -1.0]).double(), torch.tensor([-0.7, 0.2]).double()
    z = mean + log_scale.exp() * noise
    ratio = (normal_log_prob(z, mean, log_scale).sum(-1) - log_prob(prior, z)).detach()
    assert ratio.mean() > -5 * ratio.std() / math.sqrt(len(z))
    if isinstance(prior, StandardNormal):
        assert abs(ratio.mean() - kl_standard_normal(mean, log_scale).sum()) < 5 * ratio.std() / math.sqrt(len(z))


@every_prior
def test_noise_fixes_the_samples_one_by_one_and_temperature_narrows_them(make):
    prior, noise = build(make), normal(2000, DIM)
    z = samples(prior, noise)
    assert torch.equal(samples(prior, noise), z)
    torch.testing.assert_close(samples(prior, noise[:3]), z[:3])
    cold = samples(prior, noise, 0.5)
    assert torch.cov(cold.T).trace() < torch.cov(z.T).trace()
    centres = samples(prior, noise, 0.0)
    torch.testing.assert_close(cold, (z + centres) / 2)  # linear in the temperature, around each sample's centre


@every_prior
def test_float32_is_float64_to_rounding_also_under_autocast_and_finite_far_away(make):
    prior, z, noise = build(make), normal(50, DIM), normal(50, DIM, seed=1)
    exact, drawn = log_prob(prior, z), samples(prior, noise)
    assert exact.dtype == drawn.dtype == torch.float64
    prior = prior.float()
    torch.testing.assert_close(log_prob(prior, z.float()).double(), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(samples(prior, noise.float()).double(), drawn, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert log_prob(prior, z.float()).dtype == torch.float32
    assert log_prob(prior, torch.full((1, DIM), 1e4)).isfinite().all()


@every_prior
def test_seeds_states_and_descriptions_give_the_prior_again(make):
    prior, same, other = build(make), build(make), build(make, seed=1)
    z, noise = normal(5, DIM), normal(5, DIM, seed=1)
    assert torch.equal(log_prob(same, z), log_prob(prior, z))
    assert torch.equal(samples(copy.deepcopy(prior), noise), samples(prior, noise))
    if list(prior.parameters()):
        assert not torch.allclose(log_prob(other, z), log_prob(prior, z))
    description = json.loads(json.dumps(specification.describe(make)))
    arguments = {**description.get("init_args", {}), "latent_dim": DIM, "image_shape": list(SHAPE)}
    rebuilt = specification.build(description["class_path"], arguments).double()
    rebuilt.load_state_dict(prior.state_dict())
    assert type(rebuilt) is type(prior)
    assert torch.equal(log_prob(rebuilt, z), log_prob(prior, z))
    assert torch.equal(samples(rebuilt, noise), samples(prior, noise))


@every_prior
def test_wrong_numbers_are_named_in_one_line(make):
    for name in make.keywords:
        with pytest.raises(ValueError, match=f"{name}=0: {make.func.__name__}") as error:
            make(DIM, SHAPE, **{name: 0})
        assert "\n" not in str(error.value)
