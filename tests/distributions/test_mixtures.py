"""Mixtures of Gaussians: large ones in little memory against brute force in float64, and devices without float64."""

import pytest
import torch
from fake_device import second_device
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from lit_gen.distributions import FullMixture, Mixture, mixtures
from lit_gen.distributions.mixtures import CHUNK, choose, log_mixture

ROWS, COMPONENTS, DIM = 700, 400, 8


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def large(log_scale, distance, spread=0.5):
    """float32 z, each near a component, and leaves log π, μ, log σ, of more differences than fit."""
    assert ROWS * COMPONENTS * DIM > CHUNK
    logits, means = (torch.randn(shape, generator=seeded(i)) for i, shape in enumerate([COMPONENTS, (COMPONENTS, DIM)]))
    means = distance * means
    log_scales = log_scale + spread * torch.randn(COMPONENTS, DIM, generator=seeded(2))
    near = torch.randint(COMPONENTS, (ROWS,), generator=seeded(3))
    z = means[near] + log_scales[near].exp() * torch.randn(ROWS, DIM, generator=seeded(4))
    return [x.requires_grad_() for x in (z.view(2, ROWS // 2, DIM), logits.log_softmax(0), means, log_scales)]


def brute_force(z, log_weights, means, log_scales):
    normal = Normal(means, log_scales.exp())
    return torch.logsumexp(normal.log_prob(z.unsqueeze(-2)).sum(-1) + log_weights, -1)


WIDE, TIGHT = (0.0, 2.0), (-6.9, 100.0)  # log σ and distance: σ = 1, and 0.001 at 100 from each other


def one_of_each():
    wide, tight = large(*WIDE), large(*TIGHT)
    halves = [[a[: len(a) // 2], b[len(b) // 2 :]] for a, b in zip(wide, tight, strict=True)]
    return [torch.cat(both).detach().requires_grad_() for both in halves]


@pytest.mark.parametrize(
    "make", [lambda: large(*WIDE), lambda: large(*TIGHT), one_of_each], ids=["wide", "tight", "both"]
)
def test_large_mixtures_equal_brute_force(make):
    given = make()
    exact = [x.detach().double().requires_grad_() for x in given]
    value, expected = log_mixture(*given), brute_force(*exact)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=3e-6, atol=3e-6)
    weights = torch.rand(value.shape, generator=seeded(5))
    gradients = torch.autograd.grad((weights * value).sum(), given)
    references = torch.autograd.grad((weights * expected).sum(), exact)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient.double(), reference, rtol=1e-4, atol=1e-5 * reference.abs().max().item())


def counted(monkeypatch, name, counts):
    function = getattr(mixtures, name)

    def count(z, means, *others):
        counts[name] = counts.get(name, 0) + len(means)
        return function(z, means, *others)

    monkeypatch.setattr(mixtures, name, count)


def test_what_would_cancel_is_not_multiplied_out(monkeypatch):
    counts = {}
    counted(monkeypatch, "_by_differences", counts)
    counted(monkeypatch, "_by_products", counts)
    with torch.no_grad():
        for make in (lambda: large(*WIDE), lambda: large(*TIGHT), one_of_each):
            log_mixture(*make())
    half = COMPONENTS // 2
    assert counts == {"_by_products": COMPONENTS + half, "_by_differences": COMPONENTS + half}
    counts.clear()
    log_mixture(*(x.double() for x in large(*WIDE)))  # float64 asks for float64's own accuracy
    assert counts == {"_by_differences": COMPONENTS}


@pytest.mark.parametrize("kind", [WIDE, TIGHT])
def test_a_large_mixture_keeps_no_number_of_every_row_component_and_dimension(kind):
    kept = []

    def keep(x):
        kept.append(x.numel() * x.element_size())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        log_mixture(*large(*kind))
    assert sum(kept) < 4 * ROWS * COMPONENTS * DIM


def test_a_full_mixture_has_the_density_of_torchs():
    factors = torch.randn(3, 2, 2, dtype=torch.float64, generator=seeded()).tril()
    factors.diagonal(dim1=1, dim2=2).abs_().add_(0.3)
    means, log_weights = (
        torch.randn(3, 2, dtype=torch.float64, generator=seeded(1)),
        torch.tensor([0.2, 0.5, 0.3]).log(),
    )
    z = torch.randn(4, 5, 2, dtype=torch.float64, generator=seeded(2))
    expected = MixtureSameFamily(
        Categorical(logits=log_weights.double()), MultivariateNormal(means, scale_tril=factors)
    )
    torch.testing.assert_close(FullMixture(log_weights, means, factors).log_prob(z), expected.log_prob(z))


def test_a_device_without_float64_gives_the_same():
    noise, mixture = (
        torch.randn(50, 3, generator=seeded()),
        (torch.tensor([0.2, 0.5, 0.3]).log(), torch.randn(3, 3), torch.zeros(3, 3)),
    )
    big = [x.detach() for x in large(*WIDE)]
    expected = *choose(mixture[0], noise), Mixture(*mixture).sample(noise), log_mixture(*big)
    with second_device() as device:
        there = [x.to(device) for x in mixture]
        found = (
            *choose(there[0], noise.to(device)),
            Mixture(*there).sample(noise.to(device)),
            log_mixture(*(x.to(device) for x in big)),
        )
        assert {x.device for x in found} == {device}
        found = [x.cpu() for x in found]
    for value, other in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(value, other)
    torch.testing.assert_close(found[3], expected[3])
