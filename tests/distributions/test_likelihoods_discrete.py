"""Distributions over the 256 levels of a pixel: what each value's probability must add up to."""

import itertools
import math

import pytest
import torch

from lit_gen.distributions import Categorical256, DiscretisedLogistic, DiscretisedLogisticMixture, bound_log_scale
from lit_gen.distributions.likelihoods.logistic import level_log_prob, quantile_level

LEVELS = torch.arange(256, dtype=torch.float64)
KINDS = [DiscretisedLogistic, DiscretisedLogisticMixture, Categorical256]
MEANS = [-1e4, -50.0, -1.5, -1.0, -1 + 1 / 255, -0.3, 0.0, 0.004, 0.99, 0.9922, 1.0, 1.01, 3.0, 1e3]
LOG_SCALES = [-8.0, -6.5, -4.0, -2.0, 0.0, 3.0, 8.0]


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def all_values(likelihood, params):
    """Log probabilities `(256, *)` of each level in every place of one image."""
    shape = likelihood.image_shape
    return torch.stack([likelihood.log_prob(torch.full((1, *shape), float(level)), params) for level in range(256)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_sums_to_one_at_all_scales_and_means(dtype):
    grid = itertools.product(MEANS, LOG_SCALES)
    mean, raw = torch.tensor(list(grid), dtype=dtype).T.unsqueeze(2)
    probabilities = level_log_prob(LEVELS.to(dtype), mean, raw).exp().double()
    assert (probabilities.sum(1) - 1).abs().max() < 1e-6


def logistic_cdf(edge, mean, scale):
    return 1 / (1 + math.exp(-(edge - mean) / scale)) if (edge - mean) / scale > -700 else 0.0


@pytest.mark.parametrize("mean", [-1.2, -0.3, 0.9922, 1.0])
@pytest.mark.parametrize("log_scale", [-5.0, -2.0, 1.0])
def test_logistic_is_the_difference_of_distribution_functions(mean, log_scale):
    """In plain float64, where it doesn't cancel; the two ends take the tails, and 254 is no end."""
    scale, expected = math.exp(log_scale), []
    for level in range(256):
        value = level / 127.5 - 1
        low = logistic_cdf(value - 1 / 255, mean, scale) if level > 0 else 0.0
        high = logistic_cdf(value + 1 / 255, mean, scale) if level < 255 else 1.0
        expected.append(high - low)
    log_probs = level_log_prob(LEVELS, *torch.tensor([mean, log_scale], dtype=torch.float64))
    torch.testing.assert_close(log_probs.exp(), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("mean", [-1e4, -3.0, -0.2, 1.0, 40.0])
@pytest.mark.parametrize("log_scale", [-30.0, -8.0, -3.0, 0.0, 8.0, 30.0])
def test_logistic_gradients_are_finite_and_point_home(mean, log_scale):
    mean, log_scale = (torch.tensor(x).expand(256).clone().requires_grad_() for x in (mean, log_scale))
    log_prob = level_log_prob(LEVELS.float(), mean, log_scale)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()
    scale = bound_log_scale(log_scale.detach()).exp()
    far = (LEVELS < 255) & (mean.detach() - 0.05 - 50 * scale > LEVELS / 127.5 - 1)
    assert (mean.grad[far] < 0).all()  # float32 keeps a gradient where the probability is exp(−1e7)
    assert (log_scale.grad[far] > 0).all()


def test_logistic_gradients_are_finite_differences():
    mean, raw = (torch.cartesian_prod(torch.tensor([-2.0, -0.9, 0.1, 1.3]), torch.tensor([-4.5, -2.0, 1.0]))).double().T
    parameters = (mean.unsqueeze(1).requires_grad_(), raw.unsqueeze(1).requires_grad_())
    levels = torch.tensor([0.0, 1.0, 77.0, 254.0, 255.0]).double()
    assert torch.autograd.gradcheck(lambda *p: level_log_prob(levels, *p), parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_all_values_of_an_image_sum_to_one(kind):
    likelihood = kind((1, 1, 1))
    log_probs = all_values(likelihood, 3 * draw(5, *likelihood.parameter_shape))
    torch.testing.assert_close(log_probs.exp().sum(0), torch.ones(5).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [DiscretisedLogistic, lambda shape: DiscretisedLogisticMixture(shape, 3)])
def test_all_colours_sum_to_one(kind):
    likelihood = kind((2, 1, 1))
    x = torch.tensor(list(itertools.product(range(256), repeat=2))).double().reshape(-1, 2, 1, 1)
    log_probs = likelihood.log_prob(x, draw(1, *likelihood.parameter_shape))
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_mixture_by_hand_and_its_channels_share_the_component():
    likelihood = DiscretisedLogisticMixture((2, 1, 1), components=3)
    params, x = draw(4, 15, 1, 1), torch.randint(256, (4, 2, 1, 1)).double()
    expected = []
    for p, pixel in zip(params.flatten(1), x.flatten(1), strict=True):
        weights, mean, raw = p[:3].softmax(0), p[3:9].view(3, 2), p[9:].view(3, 2)
        parts = [weights[k] * level_log_prob(pixel, mean[k], raw[k]).sum().exp() for k in range(3)]
        expected.append(sum(parts).log())
    torch.testing.assert_close(likelihood.log_prob(x, params), torch.stack(expected))


def test_a_mixture_of_one_is_the_logistic():
    one, single = DiscretisedLogisticMixture((3, 2, 2), components=1), DiscretisedLogistic((3, 2, 2))
    params, noise = draw(4, 7, 2, 2), torch.rand(4, 3, 2, 2).double()
    x = single.observe(2 * noise - 1, noise)
    torch.testing.assert_close(one.log_prob(x, params), single.log_prob(x, params[:, 1:]))
    torch.testing.assert_close(one.mean(params), single.mean(params[:, 1:]))
    assert torch.equal(one.sample(params, noise), single.sample(params[:, 1:], noise))


def test_categorical_is_torch_distributions():
    likelihood = Categorical256((3, 2, 2))
    params, x = 3 * draw(4, 768, 2, 2), torch.randint(256, (4, 3, 2, 2)).double()
    logits = params.view(4, 3, 256, 2, 2).movedim(2, -1)
    expected = torch.distributions.Categorical(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(x, params), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_is_the_expectation_over_all_values(kind):
    likelihood = kind((1, 1, 1))
    params = 2 * draw(6, *likelihood.parameter_shape)
    expected = all_values(likelihood, params).exp().T @ (LEVELS / 127.5 - 1)
    torch.testing.assert_close(likelihood.mean(params).flatten(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_fill_each_level_by_its_probability(kind):
    """By inversion: with uniform noise on a grid of n points a level's share is its probability to 1/n a jump."""
    likelihood = kind((1, 1, 1))
    n = 200_001
    noise = ((torch.arange(n, dtype=torch.float64) + 0.5) / n).view(-1, 1, 1, 1)
    for seed in range(3):
        params = 2 * draw(1, *likelihood.parameter_shape, seed=seed)
        levels = (likelihood.sample(params, noise) + 1) * 127.5
        assert (levels - levels.round()).abs().max() < 1e-9
        share = levels.round().long().flatten().bincount(minlength=256).double() / n
        jumps = 2 * getattr(likelihood, "components", 1)
        torch.testing.assert_close(share, all_values(likelihood, params).exp().flatten(), rtol=0, atol=jumps / n)


def test_colours_are_drawn_as_often_as_they_are_probable():
    """Both channels at once, chi-squared over coarse cells: their dependence through the component included."""
    likelihood, n = DiscretisedLogisticMixture((2, 1, 1), components=3), 100_000
    params = torch.tensor([0.5, 0.0, -0.5, -0.6, -0.6, 0.0, 0.7, 0.7, -0.2] + 6 * [-2.0]).double().view(1, 15, 1, 1)
    x = torch.tensor(list(itertools.product(range(256), repeat=2))).double().view(-1, 2, 1, 1)
    probabilities = likelihood.log_prob(x, params).exp().view(8, 32, 8, 32).sum((1, 3)).flatten()
    noise = torch.rand(n, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    levels = ((likelihood.sample(params, noise) + 1) * 127.5).round().long().flatten(1) // 32
    counts = (levels[:, 0] * 8 + levels[:, 1]).bincount(minlength=64)
    chi_squared = ((counts - n * probabilities).square() / (n * probabilities)).sum().item()
    assert 30 < chi_squared < 110  # 63 degrees of freedom: 0.01 % on either side
    independent = probabilities.view(8, 8).sum(1, keepdim=True) * probabilities.view(8, 8).sum(0)
    assert (independent.flatten() - probabilities).abs().max() > 0.01  # a test that could tell


@pytest.mark.parametrize("kind", KINDS)
def test_every_uniform_float32_draws_a_level(kind):
    likelihood = kind((3, 2, 2))
    params = 30 * draw(3, *likelihood.parameter_shape).float()
    for u in (0.0, 2**-24, 0.5, 1 - 2**-24):
        images = likelihood.sample(params, torch.full((3, 3, 2, 2), u))
        assert torch.equal(images, likelihood.observe(images, images) / 127.5 - 1)


def test_the_quantile_far_outside_is_an_end():
    noise = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert quantile_level(noise, torch.tensor(1e6), torch.tensor(20.0)).isfinite().all()
    assert quantile_level(noise, torch.tensor(-50.0), torch.tensor(0.0)).tolist() == [0, 0, 0]
    assert quantile_level(noise, torch.tensor(50.0), torch.tensor(0.0)).tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_observed_as_their_levels(kind):
    likelihood = kind((1, 16, 16))
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    images = pixels.float().div(127.5).sub(1)
    x = likelihood.observe(images, torch.rand(1, 1, 16, 16))
    assert torch.equal(x, pixels.float())
    assert likelihood.discrete


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_levels_cost_eight_bits(kind):
    likelihood = kind((3, 4, 4))
    nats = torch.tensor([math.log(256) * 48, math.log(2) * 48])
    torch.testing.assert_close(likelihood.bits_per_dim(nats), torch.tensor([8.0, 1.0]))
    assert likelihood.bits_per_dim(math.log(256) * 48) == pytest.approx(8)


def test_wrong_arguments_are_named():
    for kind in KINDS:
        with pytest.raises(ValueError, match=r"image_shape=\(2,\): .* models pixels"):
            kind((2,))
    with pytest.raises(ValueError, match="components=0"):
        DiscretisedLogisticMixture((3, 8, 8), components=0)
