import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

import lit_gen
from lit_gen.distributions import (
    Bernoulli,
    Gaussian,
    OptimalSigmaGaussian,
    auto_likelihood,
    bound_log_scale,
    default_likelihood,
)

SHAPE = (3, 4, 5)


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform_grid(n):
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def test_bernoulli_log_prob_sums_torch_distributions():
    logits = 5 * draw(6, *SHAPE)
    x = (draw(6, *SHAPE, seed=1) > 0).double()
    expected = TorchBernoulli(logits=logits).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(Bernoulli(SHAPE).log_prob(x, logits), expected)


def test_bernoulli_probabilities_of_all_images_sum_to_one():
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64).reshape(16, 1, 2, 2)
    log_probs = Bernoulli((1, 2, 2)).log_prob(images, 3 * draw(1, 1, 2, 2))
    assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_bernoulli_keeps_its_gradient_where_a_sigmoid_saturates():
    logits = torch.tensor([200.0, -200.0]).reshape(2, 1, 1, 1).requires_grad_()
    x = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    log_prob = Bernoulli((1, 1, 1)).log_prob(x, logits)
    assert log_prob.tolist() == [-200.0, -200.0]
    log_prob.sum().backward()
    assert logits.grad.flatten().tolist() == [-1.0, 1.0]


def test_dynamic_binarisation_is_white_with_the_grey_value_as_probability():
    likelihood = Bernoulli((1, 1, 1), "dynamic")
    noise = uniform_grid(1000).reshape(-1, 1, 1, 1)
    for p in (0.0, 0.25, 0.7, 1.0):
        x = likelihood.observe(torch.full_like(noise, 2 * p - 1), noise)
        assert set(x.unique().tolist()) <= {0.0, 1.0}
        assert x.mean().item() == pytest.approx(p, abs=1e-3)
    edges = torch.tensor([0.0, 1 - 2**-24]).reshape(2, 1, 1, 1)
    assert likelihood.observe(torch.full_like(edges, -1.0), edges).sum() == 0
    assert likelihood.observe(torch.full_like(edges, 1.0), edges).sum() == 2


def test_other_binarisations():
    images = torch.tensor([-1.0, -0.02, 0.02, 1.0]).reshape(4, 1, 1, 1)
    noise = torch.full_like(images, 0.999)
    assert Bernoulli((1, 1, 1), "threshold").observe(images, noise).flatten().tolist() == [0, 0, 1, 1]
    grey = Bernoulli((1, 1, 1)).observe(images, noise).flatten()
    torch.testing.assert_close(grey, torch.tensor([0.0, 0.49, 0.51, 1.0]))


def test_bernoulli_mean_and_samples_are_images():
    likelihood = Bernoulli((1, 1, 1))
    noise = uniform_grid(1000).reshape(-1, 1, 1, 1)
    for logit in (-2.0, 0.0, 1.5):
        params = torch.full_like(noise, logit)
        p = 1 / (1 + math.exp(-logit))
        assert likelihood.mean(params)[0].item() == pytest.approx(2 * p - 1)
        samples = likelihood.sample(params, noise)
        assert set(samples.unique().tolist()) == {-1.0, 1.0}
        assert samples.mean().item() == pytest.approx(2 * p - 1, abs=2e-3)


@pytest.mark.parametrize("shape", [SHAPE, (4,)])
def test_gaussian_log_prob_with_learned_scale(shape):
    likelihood = Gaussian(shape)
    assert likelihood.parameter_shape == (2 * shape[0], *shape[1:])
    params = 3 * draw(6, *likelihood.parameter_shape)
    mean, raw = params[:, : shape[0]], params[:, shape[0] :]
    raw[0] = 30.0  # outside the bound's working range
    x = draw(6, *shape, seed=1)
    expected = Normal(mean, bound_log_scale(raw).exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(likelihood.log_prob(x, params), expected)


@pytest.mark.parametrize("shape", [SHAPE, (4,)])
def test_gaussian_log_prob_with_fixed_scale(shape):
    likelihood = Gaussian(shape, sigma=0.3)
    assert likelihood.parameter_shape == shape
    params, x = draw(6, *shape), draw(6, *shape, seed=1)
    expected = Normal(params, 0.3).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(likelihood.log_prob(x, params), expected)


def test_gaussian_density_integrates_to_one():
    grid = torch.linspace(-60, 60, 100_001, dtype=torch.float64).unsqueeze(1)
    for likelihood in (Gaussian((1,)), Gaussian((1,), sigma=0.7)):
        params = torch.full((1, *likelihood.parameter_shape), 0.4, dtype=torch.float64)
        density = likelihood.log_prob(grid, params).exp()
        assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1.0, abs=1e-8)


def test_dequantisation_fills_each_bin_and_no_other():
    likelihood = Gaussian((1, 1, 256))
    pixels = torch.arange(256, dtype=torch.float64)
    images = (2 * pixels / 255 - 1).reshape(1, 1, 1, 256)
    for u in (0.0, 0.3, 1 - 1e-9):
        x = likelihood.observe(images, torch.full_like(images, u)).flatten()
        assert torch.equal(((x + 1) * 255 / 2 + 0.5 + 1e-10).floor(), pixels)
    centred = likelihood.observe(images, torch.full_like(images, 0.5))
    assert torch.equal(centred, images)
    low = likelihood.observe(images, torch.zeros_like(images)).flatten()
    high = likelihood.observe(images, torch.ones_like(images)).flatten()
    torch.testing.assert_close(high[:-1], low[1:])


def test_points_and_plain_images_are_observed_as_they_are():
    points, noise = draw(5, 2), torch.rand(5, 2)
    assert torch.equal(Gaussian((2,)).observe(points, noise), points)
    images = draw(2, *SHAPE)
    assert torch.equal(Gaussian(SHAPE, dequantise=False).observe(images, torch.rand(2, *SHAPE)), images)


def test_gaussian_samples_invert_the_distribution_function():
    likelihood = Gaussian((1,), sigma=2.0)
    noise = uniform_grid(999).unsqueeze(1)
    params = torch.full_like(noise, 3.0)
    expected = Normal(3.0, 2.0).icdf(noise)
    torch.testing.assert_close(likelihood.sample(params, noise), expected)
    assert torch.equal(likelihood.mean(params), params)


def test_gaussian_samples_are_finite_for_every_uniform_float32():
    edges = torch.tensor([[0.0], [2**-24], [1 - 2**-24]])
    samples = Gaussian((1,), sigma=1.0).sample(torch.zeros(3, 1), edges)
    assert samples.isfinite().all()
    assert (samples.diff(dim=0) > 0).all()


def test_gaussian_images_stay_in_range_and_points_do_not_clip():
    noise = torch.rand(50, *SHAPE)
    likelihood = Gaussian(SHAPE)
    params = 4 * draw(50, *likelihood.parameter_shape)
    for images in (likelihood.mean(params), likelihood.sample(params, noise)):
        assert images.shape == (50, *SHAPE)
        assert images.abs().max() <= 1
    assert Gaussian((1,), sigma=0.1).mean(torch.tensor([[7.0]])).item() == 7.0


def test_likelihood_by_shape():
    assert isinstance(auto_likelihood((1, 28, 28)), Bernoulli)
    assert isinstance(auto_likelihood((2,)), Gaussian)


def test_the_default_by_the_datas_shape():
    kinds = {(1, 28, 28): Bernoulli, (3, 32, 32): OptimalSigmaGaussian, (2,): Gaussian}
    assert {shape: type(default_likelihood(shape)) for shape in kinds} == kinds
    assert default_likelihood((3, 32, 32)).log_bin_width is not None  # bits a dimension, which grey values don't have
    assert lit_gen.VAE((3, 8, 8)).hparams["likelihood"] == "lit_gen.distributions.likelihoods.default_likelihood"


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"image_shape=\(2,\): Bernoulli"):
        Bernoulli((2,))
    with pytest.raises(ValueError, match="binarization='static'"):
        Bernoulli((1, 8, 8), "static")
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="sigma="):
            Gaussian((2,), sigma=sigma)
