"""What every likelihood promises. A new one is a line in EVERY: how it is made, where x lies, a value's parameters."""

import json
import math
from functools import partial
from typing import NamedTuple

import pytest
import torch
from families import unlisted

import lit_gen.distributions
import lit_gen.pretrained.specification as specification
from lit_gen.distributions import (
    Bernoulli,
    Categorical256,
    ContinuousBernoulli,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    OptimalSigmaGaussian,
    SharedSigmaGaussian,
)

SHAPE, PIXEL = (3, 4, 5), (1, 1, 1)
BINARY, LEVELS = [0.0, 1.0], [float(level) for level in range(256)]  # x by its values,
UNIT, LINE = (0.0, 1.0), (-3.0, 3.0)  # or by an interval that holds all but 1e-12 of it


class Entry(NamedTuple):
    make: partial
    support: list[float] | tuple[float, float]
    params: list[float] | None = None  # of one value, well inside the images' range; None for N(0, 1)


EVERY = [
    Entry(partial(Bernoulli), BINARY, [0.7]),
    Entry(partial(Bernoulli, binarization="dynamic"), BINARY, [-1.2]),
    Entry(partial(Bernoulli, binarization="threshold"), BINARY, [0.2]),
    Entry(partial(ContinuousBernoulli), UNIT, [-1.3]),
    Entry(partial(ContinuousBernoulli, dequantise=False), UNIT, [2.0]),
    Entry(partial(Categorical256), LEVELS),
    Entry(partial(DiscretisedLogistic), LEVELS, [0.1, -2.5]),
    Entry(partial(DiscretisedLogisticMixture, components=2), LEVELS, [0.3, -0.3, -0.4, 0.5, -2.5, -3.0]),
    Entry(partial(Gaussian), LINE, [-0.2, -2.0]),
    Entry(partial(Gaussian, dequantise=False), LINE, [0.1, -1.5]),
    Entry(partial(Gaussian, sigma=0.1), LINE, [0.2]),
    Entry(partial(SharedSigmaGaussian), LINE, [-0.1]),
    Entry(partial(SharedSigmaGaussian, per_dimension=True), LINE, [0.3]),
    Entry(partial(OptimalSigmaGaussian), LINE, [0.2]),
]
TAKES_POINTS = (Gaussian,)

every_likelihood = pytest.mark.parametrize(
    "entry", EVERY, ids=[f"{e.make.func.__name__}-{'-'.join(map(str, e.make.keywords.values()))}" for e in EVERY]
)


def test_every_public_likelihood_is_listed():
    assert not unlisted(lit_gen.distributions, Likelihood, [entry.make for entry in EVERY])


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def settled(make, shape):
    """In evaluation and float64, its own parameters at -2 and after one training batch of errors 0.1."""
    likelihood = make(shape).double()
    for parameter in likelihood.parameters():
        parameter.data.fill_(-2.0)
    params = torch.zeros(1, *likelihood.parameter_shape, dtype=torch.float64)
    likelihood.log_prob(torch.full((1, *shape), 0.1, dtype=torch.float64), params)
    return likelihood.eval()


def one_value(entry):
    """The likelihood of one pixel, and its parameters `(1, *parameter_shape)`."""
    likelihood = settled(entry.make, PIXEL)
    shape = (1, *likelihood.parameter_shape)
    params = draw(*shape) if entry.params is None else torch.tensor(entry.params, dtype=torch.float64).reshape(shape)
    return likelihood, params


def values(support):
    """The places of x `(M, 1, 1, 1)` and their weights `(M,)` in a sum or an integral over all x."""
    if isinstance(support, list):
        x = torch.tensor(support, dtype=torch.float64)
        return x.view(-1, *PIXEL), torch.ones_like(x)
    x = torch.linspace(*support, 20_001, dtype=torch.float64)
    weights = torch.full_like(x, x[1] - x[0])
    weights[0] = weights[-1] = weights[0] / 2
    return x.view(-1, *PIXEL), weights


def uniform(n):
    return ((torch.arange(n, dtype=torch.float64) + 0.5) / n).view(-1, *PIXEL)


@every_likelihood
def test_the_probability_of_all_values_is_one(entry):
    likelihood, params = one_value(entry)
    x, weights = values(entry.support)
    assert (weights * likelihood.log_prob(x, params).exp()).sum().item() == pytest.approx(1, abs=1e-6)
    assert not likelihood.discrete or isinstance(entry.support, list)


@every_likelihood
def test_samples_have_the_moments_of_the_density_and_the_mean_it_says(entry):
    """The moments of x by the density, and of the samples that uniform noise on a grid draws, observed as x again."""
    likelihood, params = one_value(entry)
    x, weights = values(entry.support)
    masses = weights * likelihood.log_prob(x, params).exp()
    mean = (masses * x.flatten()).sum()
    variance = (masses * (x.flatten() - mean).square()).sum()
    noise = uniform(20_000)
    images = likelihood.sample(params, noise)
    drawn = likelihood.observe(images, torch.full_like(noise, 0.5))
    assert abs(drawn.mean() - mean) < 0.01 * variance.sqrt()
    torch.testing.assert_close(drawn.var(), variance, rtol=0.02, atol=0.0)
    assert abs(images.mean() - likelihood.mean(params)).item() < 0.01 * images.std()


@every_likelihood
def test_bits_of_all_bytes_are_those_of_a_probability(entry):
    """2^-bits, averaged over the noise that spreads a byte over its bin, sums to one over all bytes of a pixel."""
    likelihood, params = one_value(entry)
    if likelihood.log_bin_width is None:
        with pytest.raises(ValueError, match=f"bits per dimension of a {type(likelihood).__name__}") as error:
            likelihood.bits_per_dim(1.0)
        assert "\n" not in str(error.value)
        return
    levels = torch.arange(256, dtype=torch.float64) if entry.support is not BINARY else torch.tensor([0.0, 255.0])
    images = (levels.double() / 127.5 - 1).view(-1, 1, *PIXEL)
    x = likelihood.observe(*torch.broadcast_tensors(images, uniform(50)))
    bits = likelihood.bits_per_dim(-likelihood.log_prob(x, params))
    assert (2**-bits).mean(1).sum().item() == pytest.approx(1, abs=1e-3)
    of_many = entry.make(SHAPE).bits_per_dim
    assert of_many(60 * math.log(2)) - of_many(0.0) == pytest.approx(1)  # a bit for each of 60 values
    torch.testing.assert_close(of_many(torch.tensor([3.0, 5.0])), torch.tensor([of_many(3.0), of_many(5.0)]))


def shapes(make):
    return [SHAPE, (4,)] if issubclass(make.func, TAKES_POINTS) else [SHAPE]


@every_likelihood
def test_samples_of_z_broadcast_over_the_data(entry):
    for shape in shapes(entry.make):
        likelihood = settled(entry.make, shape)
        assert likelihood.image_shape == shape
        noise = torch.rand(6, *shape, dtype=torch.float64)
        params, x = draw(3, 6, *likelihood.parameter_shape), likelihood.observe(2 * torch.rand_like(noise) - 1, noise)
        looped = torch.stack([likelihood.log_prob(x, one) for one in params])
        assert looped.shape == (3, 6)
        torch.testing.assert_close(likelihood.log_prob(x, params), looped)
        drawn = torch.stack([likelihood.sample(one, noise) for one in params])
        assert drawn.shape == (3, 6, *shape)
        torch.testing.assert_close(likelihood.sample(params, noise), drawn, rtol=0, atol=0)
        torch.testing.assert_close(likelihood.mean(params), torch.stack([likelihood.mean(one) for one in params]))
    if shapes(entry.make) == [SHAPE]:
        with pytest.raises(ValueError, match=rf"image_shape=\(4,\): {entry.make.func.__name__}"):
            entry.make((4,))


@every_likelihood
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8)])
def test_likelihoods_are_float32_under_autocast(entry, shape):
    likelihood = entry.make(shape)
    params, noise = draw(4, *likelihood.parameter_shape).bfloat16(), torch.rand(4, *shape)
    x = likelihood.observe(2 * torch.rand(4, *shape) - 1, noise)
    exact = likelihood.log_prob(x.double(), params.double())
    assert exact.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        log_prob = likelihood.log_prob(x, params)
        outputs = [x, log_prob, likelihood.mean(params), likelihood.sample(params, noise)]
    assert all(output.dtype == torch.float32 for output in outputs)
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=1e-2)


@every_likelihood
def test_gradients_equal_finite_differences_and_stay_finite_at_the_extremes(entry):
    likelihood, noise = settled(entry.make, SHAPE), torch.rand(2, *SHAPE, dtype=torch.float64)
    x = likelihood.observe(2 * torch.rand_like(noise) - 1, noise)
    params, direction = draw(2, *likelihood.parameter_shape).requires_grad_(), draw(2, *likelihood.parameter_shape)
    (gradient,) = torch.autograd.grad(likelihood.log_prob(x, params).sum(), params)
    up, down = (likelihood.log_prob(x, params + sign * 1e-6 * direction).sum() for sign in (1, -1))
    assert (gradient * direction).sum().item() == pytest.approx((up - down).item() / 2e-6, rel=1e-5)
    likelihood, x = likelihood.float(), x.float()
    for size in (1e4, -1e4, 0.0):
        params = torch.full((2, *likelihood.parameter_shape), size, requires_grad=True)
        log_prob = likelihood.log_prob(x, params)
        (gradient,) = torch.autograd.grad(log_prob.sum(), params)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()
        for u in (0.0, 1 - 2**-24):
            images = likelihood.sample(params.detach(), torch.full((2, *SHAPE), u))
            assert (images.abs() <= 1).all()  # nor NaN
        assert (likelihood.mean(params.detach()).abs() <= 1).all()


@every_likelihood
def test_images_are_observed_where_the_likelihood_lives(entry):
    images = (torch.arange(256) / 127.5 - 1).view(1, 1, 16, 16)
    likelihood = entry.make((1, 16, 16))
    for u in (0.0, 0.5, 1 - 2**-24):
        x = likelihood.observe(images, torch.full_like(images, u))
        assert x.dtype == torch.float32
        assert x.shape == images.shape
        assert min(entry.support) <= x.min()
        assert x.max() <= max(entry.support)
        if likelihood.discrete:
            assert set(x.flatten().tolist()) <= set(entry.support)


@every_likelihood
def test_descriptions_and_states_give_the_likelihood_again(entry):
    description = json.loads(json.dumps(specification.describe(entry.make)))
    arguments = {**description.get("init_args", {}), "image_shape": list(SHAPE)}
    rebuilt, original = specification.build(description["class_path"], arguments), settled(entry.make, SHAPE)
    assert type(rebuilt) is type(original)
    rebuilt.double().eval().load_state_dict(original.state_dict())
    params, x = draw(2, *original.parameter_shape), torch.rand(2, *SHAPE, dtype=torch.float64).round()
    assert torch.equal(rebuilt.log_prob(x, params), original.log_prob(x, params))
    assert (rebuilt.log_bin_width, rebuilt.discrete, rebuilt.protocol) == (
        original.log_bin_width, original.discrete, original.protocol,
    )  # fmt: skip


@every_likelihood
def test_noise_is_needed_where_it_changes_what_is_observed(entry):
    images = (torch.arange(256) / 127.5 - 1).view(1, 1, 16, 16)
    likelihood = entry.make((1, 16, 16))
    low, high = (likelihood.observe(images, torch.full_like(images, u)) for u in (0.0, 1 - 2**-24))
    assert likelihood.needs_noise == (not torch.equal(low, high))


@every_likelihood
def test_a_class_that_observes_otherwise_needs_noise(entry):
    kind = entry.make.func
    noisy = type("Noisy", (kind,), {"observe": lambda self, images, noise: kind.observe(self, images, noise) + noise})
    assert noisy(SHAPE, **entry.make.keywords).needs_noise
