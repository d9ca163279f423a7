"""Priors: densities, samples from normal noise, and the mixture that is fitted after training."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from lit_gen.distributions import ExPostMixture, GaussianMixture, StandardNormal, UnitNormal, VampPrior
from lit_gen.distributions.mixtures import choose
from lit_gen.networks import MLPEncoder


def no_encoder(x):
    raise AssertionError("this prior needs no encoder")


def encode(x):
    return x.flatten(1)[:, :2] - 1, x.flatten(1)[:, 2:4] / 2


def mixture():
    torch.manual_seed(0)
    prior = GaussianMixture(2, (3,), components=3).double()
    prior.logits.data = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
    prior.means.data = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -3.0]], dtype=torch.float64)
    prior.raw_log_scales.data = torch.tensor([[-1.0, 0.2], [-0.4, -0.8], [0.1, -1.5]], dtype=torch.float64)
    return prior


def by_torch(log_weights, means, log_scales):
    return MixtureSameFamily(Categorical(logits=log_weights), Independent(Normal(means, log_scales.exp()), 1))


def test_mixture_density_equals_torch_distributions():
    prior, z = mixture(), torch.randn(4, 5, 2, dtype=torch.float64)
    expected = by_torch(prior.logits, prior.means, prior.raw_log_scales)
    torch.testing.assert_close(prior(no_encoder).log_prob(z), expected.log_prob(z))
    far = torch.full((1, 2), 1e3)
    assert torch.isfinite(prior.float()(no_encoder).log_prob(far)).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert prior(no_encoder).log_prob(far).dtype == torch.float32


def test_vamp_prior_is_the_mean_of_its_pseudo_inputs_posteriors():
    prior = VampPrior(2, (1, 2, 2), pseudo_inputs=7).double()
    z = torch.randn(3, 5, 2, dtype=torch.float64)
    means, log_scales = encode(prior.pseudo_inputs)
    density = (
        sum(Independent(Normal(m, s.exp()), 1).log_prob(z).exp() for m, s in zip(means, log_scales, strict=True)) / 7
    )
    log_prob = prior(encode).log_prob(z)
    torch.testing.assert_close(log_prob, density.log())
    log_prob.sum().backward()
    assert prior.pseudo_inputs.grad.abs().sum() > 0
    assert prior.pseudo_inputs.min() >= 0
    with pytest.raises(ValueError, match="prior=VampPrior: its encoder has to be one without labels"):
        prior.check(MLPEncoder((1, 2, 2), 2, num_classes=3))


@pytest.mark.parametrize("prior", [StandardNormal(3, (5,)), ExPostMixture(3, (5,))])
def test_standard_normal_scales_the_noise(prior):
    noise = torch.randn(4, 3)
    assert torch.equal(prior.ex_post(no_encoder).sample(noise, 1.0), noise)
    assert torch.equal(prior.ex_post(no_encoder).sample(noise, 0.7), 0.7 * noise)
    assert isinstance(prior(no_encoder), UnitNormal)


def test_chosen_components_have_their_weights_and_leave_independent_noise():
    log_weights = torch.tensor([0.1, 0.0, 0.6, 0.3]).log()
    noise = torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0))
    index, left = choose(log_weights, noise)
    shares = torch.bincount(index, minlength=4) / len(noise)
    assert shares[1] == 0
    assert (shares - log_weights.exp()).abs().max() < 4 * 0.5 / math.sqrt(len(noise))
    assert torch.equal(left[:, 1], noise[:, 1])
    for component in (0, 2, 3):
        first = left[index == component, 0].double()
        error = 1 / math.sqrt(len(first))
        assert abs(first.mean()) < 4 * error
        assert abs(first.var() - 1) < 4 * math.sqrt(2) * error
        assert abs((first**4).mean() - 3) < 4 * math.sqrt(96) * error
        below = (first[:, None] < torch.tensor([-2.0, -1.0, 0.5, 2.0])).double().mean(0)
        assert (below - torch.special.ndtr(torch.tensor([-2.0, -1.0, 0.5, 2.0]))).abs().max() < 4 * 0.5 * error


def test_samples_have_the_density_and_temperature_scales_within_components():
    prior, noise = mixture(), torch.randn(400_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = by_torch(prior.logits, prior.means, prior.raw_log_scales)
    z = prior.ex_post(no_encoder).sample(noise, 1.0).detach()
    assert torch.equal(z, prior.ex_post(no_encoder).sample(noise, 1.0))
    standard_errors = z.std(0) / math.sqrt(len(z))
    assert ((z.mean(0) - expected.mean).abs() < 4 * standard_errors).all()
    torch.testing.assert_close(z.var(0), expected.variance, rtol=0.02, atol=0.0)
    # E p(z) of samples of p against samples of torch's own
    torch.manual_seed(0)
    values, theirs = (expected.log_prob(s).exp() for s in (z, expected.sample((400_000,))))
    assert abs(values.mean() - theirs.mean()) < 4 * math.hypot(values.std(), theirs.std()) / math.sqrt(400_000)
    cold = prior.ex_post(no_encoder).sample(noise, 1e-9)
    distances = (cold[:, None] - prior.means).norm(dim=2).min(1).values
    assert distances.max() < 1e-6


def fitted(components=2, latents=4000):
    prior = ExPostMixture(2, (3,), components=components, latents=latents)
    torch.manual_seed(0)
    first, second = torch.randn(2000, 2) * 0.1 + torch.tensor([3.0, 0.0]), torch.randn(2000, 2) - 3
    second[:, 1] += 0.8 * second[:, 0]
    z = torch.cat([first, second])[torch.randperm(4000)]
    for part in z.split(37):
        prior.observe(part)
    return prior, z


def test_the_ex_post_mixture_reproduces_what_it_was_fitted_to():
    prior, z = fitted()
    noise = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0))
    samples = prior.ex_post(no_encoder).sample(noise, 1.0)
    torch.testing.assert_close(samples.mean(0), z.mean(0), rtol=0.0, atol=0.1)
    torch.testing.assert_close(torch.cov(samples.T), torch.cov(z.T), rtol=0.03, atol=0.05)
    tight = (samples - torch.tensor([3.0, 0.0])).norm(dim=1) < 0.4
    assert tight.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.cov(samples[~tight].T)[0, 1].item() == pytest.approx(0.8, abs=0.1)  # a full covariance


def test_the_ex_post_mixture_lives_in_the_state():
    prior, _ = fitted()
    noise = torch.randn(20, 2)
    other = ExPostMixture(2, (3,), components=2, latents=4000)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.ex_post(no_encoder).sample(noise, 1.0), prior.ex_post(no_encoder).sample(noise, 1.0))
    before = prior.ex_post(no_encoder).sample(noise, 1.0)
    prior.observe(torch.full((3000, 2), 50.0) + torch.randn(3000, 2))
    assert prior.ex_post(no_encoder).sample(noise, 1.0).mean() > before.mean() + 10  # fitted anew after a step


def test_the_ex_post_mixture_is_that_of_the_state_loaded_last():
    prior, z = fitted()
    noise = torch.randn(20, 2)
    before = prior.ex_post(no_encoder).sample(noise)
    other = ExPostMixture(2, (3,), components=2, latents=4000)
    other.observe(z + 50)  # as many
    prior.load_state_dict(other.state_dict())
    assert (prior.ex_post(no_encoder).sample(noise) - before).mean() > 40
    assert isinstance(prior(no_encoder), UnitNormal)  # the bound's


def test_pseudo_inputs_leave_batch_norm_to_the_images():
    torch.manual_seed(0)
    encoder, prior = MLPEncoder((1, 2, 2), 2, width=8, depth=2, norm="batch"), VampPrior(2, (1, 2, 2), pseudo_inputs=7)
    for _ in range(20):
        encoder(3 + torch.randn(64, 1, 2, 2))
    z, before = torch.randn(5, 2), {name: value.clone() for name, value in encoder.state_dict().items()}
    in_training = prior(encoder).log_prob(z)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(module.training for module in encoder.modules())
    assert torch.equal(in_training, prior(encoder.eval()).log_prob(z))
    in_training.sum().backward()
    assert prior.pseudo_inputs.grad.abs().sum() > 0
    assert not any(module.training for module in encoder.modules())


def test_the_ex_post_mixture_keeps_the_newest():
    prior = ExPostMixture(2, (3,), components=1, latents=5)
    for i in range(4):
        prior.observe(torch.full((3, 2), float(i)))
    assert sorted(prior.latents[:, 0].tolist()) == [2.0, 2.0, 3.0, 3.0, 3.0]
    prior.observe(torch.arange(20.0).reshape(10, 2))
    assert sorted(prior.latents[:, 0].tolist()) == [10.0, 12.0, 14.0, 16.0, 18.0]
    assert prior.seen == 17  # of those that were kept


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(GaussianMixture, components=0), "components=0"),
        (partial(VampPrior, pseudo_inputs=0), "pseudo_inputs=0"),
        (partial(ExPostMixture, components=0), "components=0"),
        (partial(ExPostMixture, latents=9), "latents=9.*components=10"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(2, (3,))
