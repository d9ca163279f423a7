import math

import pytest
import torch
from fake_device import second_device
from torch.distributions import Normal, kl_divergence

from lit_gen.distributions import DiagonalNormal, Mixture
from lit_gen.losses import LayerTerms
from lit_gen.metrics import AggregatePosterior, LatentUnits
from lit_gen.metrics.likelihood.latent import aggregate_log_density, pool


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make(n=200, units=4, samples=3, seed=0, prior=None, independent=True):
    mean = draw(n, units, seed=seed) * torch.tensor([2.0, 0.5, 0.05, 0.0]).double()[:units]
    log_scale = torch.tensor([-2.0, -0.3, 0.0, 0.0]).double()[:units].expand(n, units)
    z = mean + log_scale.exp() * draw(samples, n, units, seed=seed + 1)
    return LayerTerms(z, (mean, log_scale), prior, independent=independent)


def parts(layer, sizes):
    """The layer's terms in batches."""
    split = [t.split(sizes, dim) for t, dim in ((layer.z, 1), (layer.posterior[0], -2), (layer.posterior[1], -2))]
    return [LayerTerms(z, (m, s), layer.prior) for z, m, s in zip(*split, strict=True)]


def computed(metric, layers):
    for layer in layers:
        metric.update(layer)
    return metric.compute()


def test_active_units_by_both_definitions():
    layer = make(n=2000)
    metric = LatentUnits(4)
    values = computed(metric, [layer])
    torch.testing.assert_close(metric.variance, layer.posterior[0].var(0))
    kl = kl_divergence(Normal(layer.posterior[0], layer.posterior[1].exp()), Normal(0.0, 1.0))
    assert values["kl_nats"] == pytest.approx(kl.sum(1).mean().item())
    # Units 1 and 2 move far. Unit 3, of variance 0.0025 and a KL of 0.00125 nats, and unit 4 do nothing.
    assert values["active_units"] == 2
    assert values["active_units_kl"] == (kl.mean(0) > 0.01).sum() == 2
    assert computed(LatentUnits(4, threshold=0.001), [layer])["active_units"] == 3


def test_a_unit_can_be_active_by_one_definition_alone():
    """All posteriors equal, but far from the prior: a divergence that tells nothing of x."""
    layer = LayerTerms(torch.zeros(1, 50, 1), (torch.full((50, 1), 3.0), torch.zeros(50, 1)))
    assert computed(LatentUnits(1), [layer]) == {"kl_nats": pytest.approx(4.5), "active_units": 0, "active_units_kl": 1}


@pytest.mark.parametrize("sizes", [[200], [1, 199], [67, 67, 66], [1] * 200])
def test_batches_change_nothing(sizes):
    layer = make()
    assert computed(LatentUnits(4), parts(layer, sizes)) == pytest.approx(computed(LatentUnits(4), [layer]))
    expected = computed(AggregatePosterior(), [layer])
    assert computed(AggregatePosterior(), parts(layer, sizes)) == pytest.approx(expected)


def test_a_device_without_float64_gives_the_same():
    layer = make()
    layer = LayerTerms(layer.z.float(), tuple(x.float() for x in layer.posterior))
    expected = computed(LatentUnits(4), [layer]), computed(AggregatePosterior(), [layer])
    with second_device() as device:
        there = LayerTerms(layer.z.to(device), tuple(x.to(device) for x in layer.posterior))
        found = computed(LatentUnits(4), [there]), computed(AggregatePosterior(), [there])
    assert found == expected


def test_moments_are_pooled_without_loss_far_from_zero():
    rows = 1e6 + draw(90, 3)
    chunks = [rows[:1], rows[1:40], rows[40:]]
    state = torch.zeros(3, 3, dtype=torch.float64)
    for chunk in chunks:
        scatter = len(chunk) * chunk.var(0, correction=0)
        new = torch.stack([torch.full((3,), float(len(chunk))).double(), chunk.mean(0), scatter])
        state = pool(torch.stack([state, new]))
    torch.testing.assert_close(state[1], rows.mean(0))
    torch.testing.assert_close(state[2] / 89, rows.var(0), rtol=1e-8, atol=0)


def test_variance_of_an_estimated_mean_is_taken_off():
    """q(z2 | z1) of a chain: every image has the same E[z2 | x], but the means of K samples of z1 scatter."""
    scattered = LayerTerms(torch.zeros(4, 5000, 1), (0.5 * draw(4, 5000, 1), torch.zeros(4, 5000, 1)))
    metric = LatentUnits(1)
    assert computed(metric, [scattered])["active_units"] == 0
    assert metric.variance.abs().item() < 0.005 < 0.25 / 4 - 0.01
    own = 0.5 * draw(1, 5000, 1, seed=9)  # and means that differ by image
    informative = LayerTerms(torch.zeros(4, 5000, 1), (0.5 * draw(4, 5000, 1) + own, torch.zeros(4, 5000, 1)))
    metric = LatentUnits(1)
    assert computed(metric, [informative])["active_units"] == 1
    assert metric.variance.item() == pytest.approx(0.25, rel=0.05)


def test_divergence_of_each_unit_from_a_prior_that_is_conditional():
    mean, scale = draw(1, 200, 4, seed=5), torch.zeros(1, 200, 4).double()
    prior = DiagonalNormal(mean, scale)
    gaussian, sampled = make(samples=400, prior=prior), make(samples=400, prior=prior, independent=False)
    by_samples, in_closed_form = (LatentUnits(4, threshold=0.6) for _ in range(2))
    values = computed(by_samples, [sampled]), computed(in_closed_form, [gaussian])
    torch.testing.assert_close(by_samples.unit_kl / 200, in_closed_form.unit_kl / 200, atol=0.02, rtol=0.02)
    assert values[0]["active_units_kl"] == values[1]["active_units_kl"]
    assert values[0]["kl_nats"] == pytest.approx(values[1]["kl_nats"], rel=0.02)


def test_a_prior_without_units_leaves_their_divergence_out():
    layer = make(prior=Mixture(torch.zeros(1), torch.zeros(1, 4), torch.zeros(1, 4)))
    assert computed(LatentUnits(4), parts(layer, [100, 100])).keys() == {"kl_nats", "active_units"}


def test_aggregate_density_is_the_mixture():
    layer = make(n=20)
    z = draw(50, 4, seed=7)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=torch.zeros(20).double()),
        torch.distributions.Independent(Normal(layer.posterior[0], layer.posterior[1].exp()), 1),
    )
    for chunk in (1, 100, 10**6):
        density = aggregate_log_density(z, *layer.posterior, chunk=chunk)
        torch.testing.assert_close(density, mixture.log_prob(z))


def test_elbo_surgery():
    """Mean KL = information + divergence of the aggregate; the right side by samples, so the left too."""
    layer = make(n=300)
    values = computed(AggregatePosterior(), [layer])
    sampled = (layer.log_posterior[0] - layer.log_prior[0]).mean().item()
    assert values["mutual_information_nats"] + values["aggregate_kl_nats"] == pytest.approx(sampled)
    assert sampled == pytest.approx(layer.kl.mean().item(), rel=0.1)


def test_information_of_distinct_and_of_equal_codes():
    n = 40
    far = 100 * torch.arange(n).double().view(n, 1)
    distinct = LayerTerms(far.unsqueeze(0), (far, torch.zeros_like(far)))
    assert computed(AggregatePosterior(), [distinct])["mutual_information_nats"] == pytest.approx(math.log(n))
    zero = torch.zeros(n, 2, dtype=torch.float64)
    equal = LayerTerms(draw(1, n, 2), (zero, zero))
    values = computed(AggregatePosterior(), [equal])
    assert values["mutual_information_nats"] == pytest.approx(0, abs=1e-9)
    assert values["aggregate_kl_nats"] == pytest.approx(0, abs=1e-9)


def test_information_of_a_gaussian_channel():
    """z = x + noise with x ~ N(0, s²) of many images: I = ½ log(1 + s²/σ²), and q(z) = N(0, s² + σ²)."""
    x = 2 * draw(3000, 1)
    log_scale = torch.full((3000, 1), math.log(0.5)).double()
    values = computed(AggregatePosterior(), [LayerTerms(x + 0.5 * draw(1, 3000, 1, seed=1), (x, log_scale))])
    assert values["mutual_information_nats"] == pytest.approx(0.5 * math.log(17), abs=0.05)
    exact = kl_divergence(Normal(0.0, math.sqrt(4.25)), Normal(0.0, 1.0)).item()
    assert values["aggregate_kl_nats"] == pytest.approx(exact, abs=0.1)


def test_what_has_no_aggregate():
    deep = LayerTerms(torch.zeros(2, 5, 3), (torch.zeros(2, 5, 3), torch.zeros(2, 5, 3)))
    with pytest.raises(ValueError, match="depends on other layers"):
        AggregatePosterior().update(deep)
    assert computed(AggregatePosterior(marginal=False), [make()]).keys() == {"mutual_information_nats"}
