"""Densities: the continuous Bernoulli, Gaussians by the origin of σ, and their bits a pixel."""

import math
import os
import subprocess
import sys

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli
from torch.distributions import Normal

from lit_gen.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    OptimalSigmaGaussian,
    SharedSigmaGaussian,
)
from lit_gen.distributions.likelihoods.bernoulli import langevin, log_sinhc

SHAPE = (3, 4, 5)
LOGITS = [-60.0, -8.0, -1.0, -0.51, -0.49, -0.1, -1e-3, -1e-9, 0.0, 1e-6, 0.02, 0.4999, 0.5001, 2.0, 15.0, 200.0]


def pixel(value):
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- continuous Bernoulli


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_integrates_to_one_with_the_mean_it_says(logit):
    likelihood, params = ContinuousBernoulli((1, 1, 1), dequantise=False), pixel(logit)

    def density(x):
        return likelihood.log_prob(pixel(x), params).exp().item()

    peak = [1 / max(abs(logit), 1)] if logit < 0 else [1 - 1 / max(abs(logit), 1)]
    assert integrate.quad(density, 0, 1, points=peak)[0] == pytest.approx(1, abs=1e-8)
    mean = integrate.quad(lambda x: x * density(x), 0, 1, points=peak)[0]
    assert likelihood.mean(params).item() == pytest.approx(2 * mean - 1, abs=1e-8)


def test_continuous_bernoulli_is_torch_distributions_and_scipys_truncated_exponential():
    likelihood = ContinuousBernoulli(SHAPE, dequantise=False)
    params, x = 3 * draw(6, *SHAPE), torch.rand(6, *SHAPE).double()
    params[params.abs() < 0.1] = 0.5  # theirs is a Taylor polynomial of low order near λ = 1/2
    reference = TorchContinuousBernoulli(logits=params, lims=(0.4999, 0.5001))
    torch.testing.assert_close(likelihood.log_prob(x, params), reference.log_prob(x).sum((1, 2, 3)))
    torch.testing.assert_close(likelihood.mean(params), 2 * reference.mean - 1)
    one = ContinuousBernoulli((1, 1, 1), dequantise=False)
    scale = 1 / 1.7  # x ~ exponential of rate 1.7, cut at 1, is the logit −1.7
    expected = stats.truncexpon(b=1 / scale, scale=scale).logpdf(0.3)
    value = one.log_prob(pixel(0.3), pixel(-1.7))
    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_the_constant_is_two_at_one_half_and_smooth_around_it():
    h = torch.tensor([-0.2501, -0.2499, -1e-4, -1e-12, 0.0, 1e-9, 1e-3, 0.2499, 0.2501], dtype=torch.float64)
    expected = torch.tensor([math.log(math.sinh(x) / x) if x else 0.0 for x in h.tolist()], dtype=torch.float64)
    torch.testing.assert_close(log_sinhc(h), expected, rtol=1e-11, atol=1e-15)
    h.requires_grad_()
    (gradient,) = torch.autograd.grad(log_sinhc(h).sum(), h)
    torch.testing.assert_close(gradient, langevin(h.detach()), rtol=1e-10, atol=1e-15)
    assert gradient[4].item() == 0
    half = torch.zeros(1, 1, 1, 1)
    log_prob = ContinuousBernoulli((1, 1, 1)).log_prob(half + 0.3, half)
    assert log_prob.item() == 0  # uniform: the constant 2 times ½


def test_continuous_bernoulli_gradients():
    likelihood = ContinuousBernoulli((1, 1, 1))
    params = torch.tensor(LOGITS).double().view(-1, 1, 1, 1).requires_grad_()
    x = torch.full((1, 1, 1, 1), 0.3).double()
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(x, p), params, rtol=1e-5)
    exact = torch.autograd.grad(likelihood.log_prob(x, params).sum(), params)[0]
    single = params.detach().float().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.log_prob(x.float(), single).sum(), single)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_samples_invert_the_distribution_function(logit):
    likelihood = ContinuousBernoulli((1, 1, 1), dequantise=False)
    n = 20_001
    noise = ((torch.arange(n, dtype=torch.float64) + 0.5) / n).view(-1, 1, 1, 1)
    params = torch.full_like(noise, logit)
    x = (likelihood.sample(params, noise) + 1) / 2
    assert (x.flatten().diff() > 0).all()
    size = abs(logit) or 1.0
    if logit == 0:
        expected = noise
    elif logit < 0:
        expected = torch.from_numpy(stats.truncexpon(b=size, scale=1 / size).ppf(noise.numpy()))
    else:
        expected = 1 - torch.from_numpy(stats.truncexpon(b=size, scale=1 / size).ppf(1 - noise.numpy()))
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)
    for u in (0.0, 1 - 2**-24):
        ends = likelihood.sample(torch.tensor(LOGITS).view(-1, 1, 1, 1), torch.tensor(u).view(1, 1, 1, 1))
        assert ((ends >= -1) & (ends <= 1)).all()


def test_continuous_bernoulli_dequantises_into_its_interval():
    likelihood = ContinuousBernoulli((1, 16, 16))
    pixels = torch.arange(256, dtype=torch.float64).view(1, 1, 16, 16)
    for u in (0.0, 0.3, 1 - 1e-9):
        x = likelihood.observe(pixels / 127.5 - 1, torch.full_like(pixels, u))
        assert torch.equal((256 * x + 1e-10).floor(), pixels)
    params = torch.full((1, 1, 16, 16), 0.7)
    noise = torch.rand(500, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert likelihood.sample(params, noise).mean().item() == pytest.approx(
        likelihood.mean(params)[0, 0, 0, 0].item(), abs=5e-3
    )


# ---- σ


@pytest.mark.parametrize("shape", [SHAPE, (4,)])
@pytest.mark.parametrize("per_dimension", [False, True])
def test_shared_sigma_is_a_parameter(shape, per_dimension):
    likelihood = SharedSigmaGaussian(shape, per_dimension).double()
    assert likelihood.parameter_shape == shape
    (parameter,) = likelihood.parameters()
    parameter.data = draw(*parameter.shape, seed=2)
    assert parameter.shape == (shape if per_dimension else ())
    params, x = draw(6, *shape), draw(6, *shape, seed=1)
    expected = Normal(params, parameter.exp()).log_prob(x).flatten(1).sum(1)
    log_prob = likelihood.log_prob(x, params)
    torch.testing.assert_close(log_prob, expected)
    log_prob.sum().backward()
    assert (parameter.grad != 0).all()
    upper = torch.full((6, *shape), stats.norm.cdf(0.2), dtype=torch.float64)
    samples = likelihood.sample(torch.zeros(6, *shape).double(), upper)
    expected = (0.2 * parameter.detach().exp()).expand(6, *shape)
    torch.testing.assert_close(samples, expected.clamp(max=1) if len(shape) == 3 else expected)


def test_optimal_sigma_is_what_shared_sigma_converges_to():
    x, params = 0.3 * draw(50, 4) + 1, draw(50, 4, seed=1)
    optimal, shared = OptimalSigmaGaussian((4,)).double(), SharedSigmaGaussian((4,)).double()
    best = optimal.log_prob(x, params)
    optimizer = torch.optim.LBFGS(shared.parameters(), max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-15)

    def loss():
        optimizer.zero_grad()
        value = -shared.log_prob(x, params).mean()
        value.backward()
        return value

    optimizer.step(loss)
    torch.testing.assert_close(best, shared.log_prob(x, params).detach())
    mse = (x - params).square().mean()
    torch.testing.assert_close(best.mean(), -2 * (torch.log(2 * math.pi * mse) + 1))


def test_the_gradient_is_that_of_the_profile_likelihood():
    """σ held, as its derivative is 0 at the best: the same as through max over σ of the likelihood."""
    x, params = draw(20, 4), draw(20, 4, seed=1).requires_grad_()
    (held,) = torch.autograd.grad(OptimalSigmaGaussian((4,)).double().log_prob(x, params).mean(), params)
    profile = -2 * torch.log((x - params).square().mean())
    (through,) = torch.autograd.grad(profile, params)
    torch.testing.assert_close(held, through)


def test_optimal_sigma_runs_and_no_score_depends_on_its_batch():
    likelihood = OptimalSigmaGaussian((4,), momentum=0.1).double()
    x, params = draw(20, 4), draw(20, 4, seed=1)
    likelihood.eval()
    torch.testing.assert_close(likelihood.log_prob(x, params), Normal(params, 1.0).log_prob(x).sum(1))  # untrained
    likelihood.train()
    squares, weights = [], []
    for seed in range(5):
        error = (1 + seed) * draw(8, 4, seed=seed)
        likelihood.log_prob(error, torch.zeros(8, 4).double())
        squares.append(error.square().mean())
        weights = [0.9 * w for w in weights] + [0.1]
    sigma = (sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights)).sqrt()
    likelihood.eval()
    before = likelihood.running.clone()
    together = likelihood.log_prob(x, params)
    torch.testing.assert_close(together, Normal(params, sigma).log_prob(x).sum(1))
    one_by_one = [likelihood.log_prob(x[i : i + 1], params[i : i + 1]) for i in range(20)]
    torch.testing.assert_close(together, torch.cat(one_by_one))
    assert torch.equal(likelihood.running, before)
    restored = OptimalSigmaGaussian((4,)).double().eval()
    restored.load_state_dict(likelihood.state_dict())
    assert torch.equal(restored.log_prob(x, params), together)


def test_perfect_means_leave_everything_finite():
    likelihood = OptimalSigmaGaussian((4,))
    x, params = torch.ones(3, 4), torch.ones(3, 4, requires_grad=True)
    log_prob = likelihood.log_prob(x, params)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert params.grad.isfinite().all()
    assert likelihood.eval().log_prob(x, params).isfinite().all()


def test_optimal_sigma_is_the_same_on_two_processes(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    commands = [[sys.executable, __file__, str(tmp_path), str(rank)] for rank in (0, 1)]
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(first["running"], second["running"])
    alone = OptimalSigmaGaussian((4,))
    log_prob = alone.log_prob(draw(20, 4), draw(20, 4, seed=1))
    torch.testing.assert_close(first["running"], alone.running)
    torch.testing.assert_close(torch.cat([first["log_prob"], second["log_prob"]]), log_prob)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 5.0])
def test_bits_of_a_dequantised_gaussian_bound_those_of_the_pixels(sigma):
    """−log₂ of the probability that it puts on the bin, by quadrature over the noise."""
    likelihood = Gaussian((1, 1, 1), sigma=sigma)
    noise = ((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000).view(-1, 1, 1, 1)
    image, params = torch.full_like(noise, 100 / 127.5 - 1), pixel(-0.21)
    bound = likelihood.bits_per_dim(-likelihood.log_prob(likelihood.observe(image, noise), params)).mean()
    edges = torch.tensor([99.5, 100.5], dtype=torch.float64) / 127.5 - 1
    low, high = Normal(-0.21, sigma).cdf(edges)
    exact = -torch.log2(high - low)
    assert exact < bound + 1e-6
    assert bound < exact + 1e-6 + 1e-3 * (0.1 / sigma) ** 4  # the gap is the noise's own divergence within the bin


def test_uniform_densities_cost_eight_bits():
    flat = ContinuousBernoulli(SHAPE)
    zeros = torch.zeros(2, *SHAPE)
    bits = flat.bits_per_dim(-flat.log_prob(flat.observe(zeros, torch.rand(2, *SHAPE)), zeros))
    torch.testing.assert_close(bits, torch.full((2,), 8.0))
    # A density of ½ on [-1, 1] covers 255 bins: the outermost reach half a bin beyond it.
    assert Gaussian(SHAPE).bits_per_dim(60 * math.log(2)) == pytest.approx(math.log2(255))
    assert Bernoulli(SHAPE, "dynamic").bits_per_dim(60 * math.log(2)) == pytest.approx(1)


def test_which_are_probabilities():
    assert Bernoulli(SHAPE, "dynamic").discrete
    assert Bernoulli(SHAPE, "threshold").discrete
    on_lattice = [Bernoulli(SHAPE), ContinuousBernoulli(SHAPE, dequantise=False), Gaussian(SHAPE, dequantise=False)]
    for likelihood in [*on_lattice, Gaussian((2,)), OptimalSigmaGaussian((2,))]:
        assert not likelihood.discrete
        with pytest.raises(ValueError, match="bits per dimension of a"):
            likelihood.bits_per_dim(1.0)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"image_shape=\(2,\): ContinuousBernoulli"):
        ContinuousBernoulli((2,))
    for momentum in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="momentum="):
            OptimalSigmaGaussian((2,), momentum=momentum)


if __name__ == "__main__":  # one of two processes
    folder, rank = sys.argv[1], int(sys.argv[2])
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    likelihood = OptimalSigmaGaussian((4,))
    part = slice(10 * rank, 10 * rank + 10)
    log_prob = likelihood.log_prob(draw(20, 4)[part], draw(20, 4, seed=1)[part])
    torch.save({"running": likelihood.running, "log_prob": log_prob}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
