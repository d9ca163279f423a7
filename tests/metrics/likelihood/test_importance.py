import math

import pytest
import torch
from fake_device import second_device
from torch.distributions import Bernoulli, Normal

from lit_gen.metrics import ImportanceWeights, MeanPerImage, effective_sample_size, importance_sampling


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_effective_sample_size_between_its_extremes():
    even, single = torch.full((50, 1), -1000.0), torch.full((50, 1), -1000.0)
    single[7] = 1000.0
    sizes = effective_sample_size(torch.cat([even, single], dim=1))
    torch.testing.assert_close(sizes, torch.tensor([50.0, 1.0]).double())
    weights = draw(30, 4)
    expected = weights.exp().sum(0).square() / weights.exp().square().sum(0)
    torch.testing.assert_close(effective_sample_size(weights), expected)
    torch.testing.assert_close(effective_sample_size(weights - 1e5), expected, rtol=1e-8, atol=0)  # exp underflows


def test_a_sample_without_weight_counts_as_a_sample():
    weights = ImportanceWeights()
    weights.add(torch.tensor([[-math.inf], [math.log(3.0)]]))
    weights.add(torch.tensor([[-math.inf]]))
    assert weights.log_likelihood.item() == pytest.approx(0, abs=1e-6)
    assert weights.effective_sample_size.item() == pytest.approx(1)


def test_no_weight_at_all_is_no_effective_sample():
    sizes = effective_sample_size(torch.tensor([[-math.inf, 0.0], [-math.inf, 0.0]]))
    assert sizes.tolist() == [0.0, 2.0]


def test_a_device_without_float64_leaves_the_sums_to_the_cpu():
    log_weights = 20 * draw(40, 5).float()
    with second_device() as device:
        weights = importance_sampling(lambda k: log_weights[:k].to(device), lambda k: k, 40, 40)
        assert weights.log_likelihood.dtype == torch.float64
    torch.testing.assert_close(weights.log_likelihood, log_weights.double().logsumexp(0) - math.log(40))


@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_any_chunk_gives_the_same(chunk):
    log_weights, asked = 20 * draw(40, 5), []

    def noise(k):
        start = sum(asked)
        asked.append(k)
        return log_weights[start : start + k]

    weights = importance_sampling(lambda part: part, noise, 40, chunk)
    assert max(asked) == min(chunk, 40)
    torch.testing.assert_close(weights.log_likelihood, log_weights.logsumexp(0) - math.log(40))
    torch.testing.assert_close(weights.effective_sample_size, effective_sample_size(log_weights))


def decode(z):  # a decoder that isn't linear
    return 3 * torch.sin(2 * z.sum(-1, keepdim=True) + torch.linspace(-2, 2, 6).double()) + z[..., :1]


@pytest.mark.parametrize("dim", [1, 2])
def test_importance_sampling_is_quadrature(dim):
    """With a poor q, so that the weights matter."""
    x = (draw(3, 6, seed=1) > 0).double()
    grid = torch.linspace(-7, 7, 1401 if dim == 1 else 281, dtype=torch.float64)
    z = torch.cartesian_prod(*[grid] * dim).reshape(-1, 1, dim)
    joint = Normal(0.0, 1.0).log_prob(z).sum(-1) + Bernoulli(logits=decode(z)).log_prob(x).sum(-1)
    exact = joint.logsumexp(0) + dim * math.log(grid[1] - grid[0])
    mean, scale = torch.tensor([0.3, -0.2]).double()[:dim], 1.2

    def log_weights(noise):
        z = mean + scale * noise.transpose(0, 1)
        log_joint = Normal(0.0, 1.0).log_prob(z).sum(-1) + Bernoulli(logits=decode(z)).log_prob(x).sum(-1)
        return log_joint - Normal(mean, scale).log_prob(z).sum(-1)

    generator = torch.Generator().manual_seed(2)
    weights = importance_sampling(
        log_weights, lambda k: torch.randn(3, k, dim, dtype=torch.float64, generator=generator), 100_000, 20_000
    )
    assert (weights.log_likelihood - exact).abs().max() < 0.01
    assert ((weights.effective_sample_size > 1000) & (weights.effective_sample_size < 90_000)).all()


def test_mean_per_image_weighs_images_not_batches():
    values, mean = draw(10), MeanPerImage()
    for part in (values[:1], values[1:8], values[8:8], values[8:]):
        mean.update(part)
    assert mean.compute().item() == pytest.approx(values.mean().item())
    assert mean.compute().dtype == torch.float64
