import itertools
import math

import pytest
import torch
from fake_device import second_device
from torch.distributions import MultivariateNormal, Normal

from lit_gen.metrics import annealed_importance_sampling, sigmoid_schedule
from lit_gen.metrics.likelihood import annealed
from lit_gen.metrics.likelihood.annealed import Position, leapfrog


def log_normal(z):
    return Normal(0.0, 1.0, validate_args=False).log_prob(z).sum(-1)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def linear_model(noise=0.5):
    """x = W z + noise: log p(x | z), x, and the exact log p(x)."""
    weights = torch.randn(5, 2, dtype=torch.float64, generator=generator(0))
    covariance = weights @ weights.T + noise**2 * torch.eye(5)
    x = 1.5 * torch.randn(4, 5, dtype=torch.float64, generator=generator(1))
    exact = MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).log_prob(x)
    return lambda z: Normal(z @ weights.T, noise, validate_args=False).log_prob(x).sum(-1), exact


def anneal(log_likelihood, steps, chains, seed=2, **kwargs):
    source, shape = generator(seed), (chains, 4, 2)
    return annealed_importance_sampling(
        log_normal,
        log_likelihood,
        lambda: torch.randn(shape, dtype=torch.float64, generator=source),
        sigmoid_schedule(steps),
        lambda: torch.randn(shape, dtype=torch.float64, generator=source),
        lambda: torch.rand(shape[:2], dtype=torch.float64, generator=source),
        **kwargs,
    )


def test_schedule():
    betas = sigmoid_schedule(10)
    assert betas[0] == 0
    assert betas[-1] == 1
    steps = [b - a for a, b in itertools.pairwise(betas)]
    assert min(steps) > 0
    assert steps[0] == pytest.approx(min(steps))
    assert steps == pytest.approx(steps[::-1])
    with pytest.raises(ValueError, match="steps=0"):
        sigmoid_schedule(0)


def test_linear_gaussian_evidence():
    log_likelihood, exact = linear_model()
    log_weights = anneal(log_likelihood, steps=200, chains=200)
    assert (log_weights.logsumexp(0) - math.log(200) - exact).abs().max() < 0.15
    assert log_weights.std(0).max() < 1.2
    assert log_weights.mean() < exact.mean()  # each chain's logarithm is too low


def test_the_error_shrinks_with_the_steps():
    log_likelihood, exact = linear_model()
    gaps = [(exact - anneal(log_likelihood, steps, chains=50).mean(0)).mean().item() for steps in (1, 10, 100)]
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] > 0


def test_one_step_is_importance_sampling_from_the_prior():
    log_likelihood, _ = linear_model()
    z = torch.randn((30, 4, 2), dtype=torch.float64, generator=generator(2))
    torch.testing.assert_close(anneal(log_likelihood, 1, 30), log_likelihood(z))


@pytest.mark.parametrize("chains", [2, 16])
def test_transitions_keep_the_target_while_step_sizes_adapt(chains):
    """Where log p(x | z) is 0 the target is N(0, I) at every β. Steps that follow their own chain narrow it."""
    shape, source, seen = (chains, 20_000 // chains, 2), generator(3), []

    def log_likelihood(z):
        seen.append(z.detach())
        return 0 * z.sum(-1)

    starts = []

    def start():
        starts.append(torch.randn(shape, dtype=torch.float64, generator=source))
        return starts[-1]

    log_weights = annealed_importance_sampling(
        log_normal, log_likelihood, start, sigmoid_schedule(15),
        lambda: torch.randn(shape, dtype=torch.float64, generator=source),
        lambda: torch.rand(shape[:2], dtype=torch.float64, generator=source), leapfrog_steps=4, step_size=1.5,
    )  # fmt: skip
    assert (log_weights == 0).all()
    last = seen[-5]  # where the last transition began
    assert last.mean().abs() < 0.02
    assert last.var().item() == pytest.approx(1, abs=0.025)
    assert (last != starts[-1]).double().mean() > 0.99


@pytest.mark.parametrize("chains", [1, 2, 8])
def test_the_mean_weight_has_no_bias_however_fast_the_steps_adapt(chains, monkeypatch):
    """x = z + 0.15 ε, at a gain that sends step sizes all over: those of chains that see one another give 0.966."""
    monkeypatch.setattr(annealed, "ADAPTATION", 1.0)
    n, sigma, x, source = 200_000 // chains, 0.15, 1.2, generator(4)

    def log_likelihood(z):
        return Normal(0.0, sigma, validate_args=False).log_prob(z[..., 0] - x)

    def normal():
        return torch.randn(chains, n, 1, generator=source)

    weights = annealed_importance_sampling(
        log_normal, log_likelihood, normal, sigmoid_schedule(20), normal,
        lambda: torch.rand(chains, n, generator=source), leapfrog_steps=2,
    ).exp().mean(0)  # fmt: skip
    ratio = weights / Normal(0.0, math.hypot(1, sigma)).log_prob(torch.tensor(x)).exp()
    error = ratio.std().item() / math.sqrt(n)
    assert error < 0.005
    assert abs(ratio.mean().item() - 1) < 3 * error


def test_a_device_without_float64_leaves_the_sums_to_the_cpu():
    def weights(device):
        source = generator(0)
        return annealed_importance_sampling(
            log_normal, lambda z: -(z - 1).square().sum(-1), lambda: torch.randn(2, 4, 2, generator=source).to(device),
            sigmoid_schedule(4), lambda: torch.randn(2, 4, 2, generator=source).to(device),
            lambda: torch.rand(2, 4, generator=source).to(device),
        )  # fmt: skip

    expected = weights("cpu")
    with second_device() as device:
        assert torch.equal(weights(device), expected)
    assert expected.dtype == torch.float64


def test_leapfrog_returns_by_the_way_it_came_and_keeps_the_energy():
    log_likelihood, _ = linear_model()
    z, momentum = (torch.randn((3, 4, 2), dtype=torch.float64, generator=generator(s)) for s in (5, 6))
    step = torch.full((3, 4), 0.01, dtype=torch.float64)
    start = Position.at(z, log_normal, log_likelihood, 0.7)
    end, turned = leapfrog(start, momentum, step, 20, log_normal, log_likelihood, 0.7)
    back, _ = leapfrog(end, -turned, step, 20, log_normal, log_likelihood, 0.7)
    torch.testing.assert_close(back.z, z)
    energies = [0.5 * p.square().sum(-1) - x.log_density for x, p in ((start, momentum), (end, turned))]
    assert (energies[0] - energies[1]).abs().max() < 0.05
    assert (end.z - z).abs().min() > 1e-3


def test_trajectories_that_diverge_are_refused():
    log_likelihood, _ = linear_model(noise=0.01)
    log_weights = anneal(log_likelihood, steps=20, chains=10, step_size=1e150)
    assert log_weights.isfinite().all()
