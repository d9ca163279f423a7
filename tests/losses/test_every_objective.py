"""What every variational objective promises. A new one is one line in EVERY, each with a few of its options.

The model is linear and Gaussian, p(z) = N(0, I) and p(x|z) = N(Wz, σ²I), of which log p(x) and p(z|x) are known.
"""

import math
from dataclasses import replace

import pytest
import torch
from families import assert_bad_options_are_named, assert_is_a_frozen_value, unlisted
from torch.distributions import MultivariateNormal

import lit_gen.losses
from lit_gen.distributions import normal_log_prob, reparametrise
from lit_gen.losses import ELBO, IWAE, CyclicalWarmUp, LayerTerms, LinearWarmUp, Terms, VariationalObjective, WarmUp

EVERY = [
    ELBO(),
    ELBO(samples=4, free_bits=50.0),  # above the divergence
    ELBO(beta=0.5, free_bits=0.3, warm_up=LinearWarmUp(10)),
    IWAE(),
    IWAE(samples=1, gradient="stl"),
    IWAE(samples=4, gradient="dreg"),
]
WARM_UPS = [
    LinearWarmUp(7),
    CyclicalWarmUp(8, share=0.25),
]
SIGMA = 0.8
W = torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.2, -0.4]], dtype=torch.float64)
X = torch.tensor([[0.9, -1.1, 0.4], [0.2, 0.5, -0.3], [-2.0, 0.1, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
EVIDENCE = MultivariateNormal(X.new_zeros(3), W @ W.T + SIGMA**2 * torch.eye(3)).log_prob(X)  # log p(x), (4,)

every_objective = pytest.mark.parametrize("objective", EVERY, ids=str)


def test_every_public_objective_and_warm_up_is_listed():
    assert not unlisted(lit_gen.losses, VariationalObjective, EVERY)
    assert not unlisted(lit_gen.losses, WarmUp, WARM_UPS)


def exact_posterior(w):
    """Mean and log σ of p(z|x), `(4, 2)`, where the columns of w are orthogonal."""
    precision = 1 + w.square().sum(0) / SIGMA**2
    return X @ w / SIGMA**2 / precision, (-0.5 * precision.log()).expand(4, 2)


def some_posterior():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 2, dtype=torch.float64, generator=generator), torch.tensor([[-0.3, 0.1]]).double().expand(
        4, 2
    )


def terms_of(objective, q, w=W, repeats=1, seed=0):
    """Terms of all x, each `repeats` times, and their leaves: q's parameters and w."""
    leaves = [v.repeat(repeats, 1).requires_grad_() for v in q] + [w.clone().requires_grad_()]
    mean, log_scale, weight = leaves
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(objective.samples, len(mean), 2, dtype=torch.float64, generator=generator)
    z = reparametrise(mean, log_scale, noise)
    log_likelihood = normal_log_prob(X.repeat(repeats, 1), z @ weight.T, torch.tensor(math.log(SIGMA))).sum(-1)
    return Terms(log_likelihood, [LayerTerms(z, (mean, log_scale), None, objective.detach_posterior)]), leaves


def held_out_bound(objective, terms):
    """The tightest bound that the objective reports of held-out images, in nats."""
    return min(value for name, value in objective.bound(terms).items() if name.startswith("n"))


@every_objective
def test_options_are_values_and_wrong_ones_are_named(objective):
    assert_bad_options_are_named(objective)
    if getattr(objective, "warm_up", None) is None:
        assert_is_a_frozen_value(objective)
    with pytest.raises(ValueError, match=f"samples=0: {type(objective).__name__}"):
        replace(objective, samples=0)


@pytest.mark.parametrize("warm_up", WARM_UPS, ids=str)
def test_warm_ups_rise_from_0_to_1_at_their_length_and_stay_within(warm_up):
    assert_is_a_frozen_value(warm_up)
    assert_is_a_frozen_value(ELBO(warm_up=warm_up))
    assert_bad_options_are_named(warm_up)
    values = [warm_up(update) for update in range(100)]
    assert values[0] == 0
    assert values[: warm_up.length] == sorted(values[: warm_up.length])
    assert values.index(1.0) == warm_up.length
    assert 0 <= min(values) <= max(values) == 1


@every_objective
def test_the_bound_lies_below_the_evidence(objective):
    """In the mean over many samples; that of a training step is one draw."""
    terms, _ = terms_of(objective, some_posterior(), repeats=20_000)
    gap = held_out_bound(objective, terms).item() + EVIDENCE.mean().item()
    assert gap > 0.01
    single, _ = terms_of(ELBO(), some_posterior(), repeats=20_000)
    assert gap < held_out_bound(ELBO(), single).item() + EVIDENCE.mean().item() + 0.02  # no worse than one sample's


@every_objective
def test_the_bound_is_tight_where_q_is_the_posterior(objective):
    decomposed = torch.linalg.svd(W, full_matrices=False)
    w = decomposed.U * decomposed.S  # the latents rotated, so that the posterior factorises
    terms, _ = terms_of(objective, exact_posterior(w), w, repeats=20_000)
    tight = -terms.log_weights.mean()
    torch.testing.assert_close(tight, -EVIDENCE.mean())
    values = {name: value for name, value in objective.bound(terms).items() if name.startswith("n")}
    for name, value in values.items():  # closed-form KL, but the reconstruction by samples
        tolerance = {"rtol": 0, "atol": 0.02} if name == "nelbo_nats" else {}
        torch.testing.assert_close(value, -EVIDENCE.mean(), **tolerance)


def by_hand(objective, terms, update):
    """The loss from numbers alone, image by image."""
    k, n = terms.log_likelihood.shape
    if isinstance(objective, IWAE):
        log_weights = terms.log_weights.tolist()
        return -sum(math.log(sum(math.exp(log_weights[i][j]) for i in range(k)) / k) for j in range(n)) / n
    mean, log_scale = (v.tolist() for v in terms.layers[0].posterior)
    kl = (
        sum(
            0.5 * (m * m + math.exp(2 * s) - 1) - s
            for row in zip(mean, log_scale, strict=True)
            for m, s in zip(*row, strict=True)
        )
        / n
    )
    weight = objective.beta * (1.0 if objective.warm_up is None else objective.warm_up(update))
    return -sum(map(sum, terms.log_likelihood.tolist())) / (k * n) + weight * max(kl, objective.free_bits)


@every_objective
@pytest.mark.parametrize("update", [0, 4, 1000])
def test_value_by_hand_and_gradient_by_finite_differences(objective, update):
    """The gradient in w: estimators that leave out scores of q differ in q's parameters alone."""
    terms, leaves = terms_of(objective, some_posterior())
    loss, values = objective(terms, update)
    assert (loss.shape, loss.dtype) == ((), torch.float64)
    assert loss.item() == pytest.approx(by_hand(objective, terms, update), abs=1e-12)
    torch.testing.assert_close(values["loss"], loss)
    gradients = torch.autograd.grad(loss, leaves)
    checked = range(2, 3) if objective.detach_posterior else range(3)
    for leaf in checked:
        generator = torch.Generator().manual_seed(leaf)
        direction = torch.randn(leaves[leaf].shape, dtype=torch.float64, generator=generator)
        found = []
        for step in (1e-6, -1e-6):
            moved = [v.detach() + step * direction if i == leaf else v.detach() for i, v in enumerate(leaves)]
            found.append(objective(terms_of(objective, moved[:2], moved[2])[0], update)[0].item())
        expected = (found[0] - found[1]) / 2e-6
        assert (gradients[leaf] * direction).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@every_objective
def test_one_sample_makes_all_bounds_one(objective):
    single = replace(objective, samples=1)
    terms, _ = terms_of(single, some_posterior())
    sampled = -terms.log_weights.mean()
    if isinstance(objective, IWAE):
        torch.testing.assert_close(single(terms, 0)[0], sampled)
    else:  # its divergence in closed form: the same in the mean
        many, _ = terms_of(single, some_posterior(), repeats=20_000)
        plain = replace(single, beta=1.0, free_bits=0.0, warm_up=None)
        torch.testing.assert_close(plain(many, 0)[0], -many.log_weights.mean(), rtol=0, atol=0.03)


@every_objective
def test_values_are_those_of_float64_in_float32_and_finite_at_the_extremes(objective):
    exact, _ = terms_of(objective, some_posterior())
    layer = exact.layers[0]
    single = Terms(
        exact.log_likelihood.detach().float(),
        [LayerTerms(layer.z.detach().float(), tuple(v.detach().float() for v in layer.posterior))],
    )
    torch.testing.assert_close(objective(single, 5)[0].double(), objective(exact, 5)[0].detach(), rtol=1e-5, atol=1e-6)
    far = torch.full((objective.samples, 3), -3e4, requires_grad=True)
    z = torch.zeros(objective.samples, 3, 1)
    loss, _ = objective(Terms(far, [LayerTerms(z, (torch.zeros(3, 1), torch.zeros(3, 1)))]), 0)
    loss.backward()
    assert loss.isfinite()
    # float32 numbers near 3e4 lie 2e-3 apart, and so do the logarithms of the weights.
    torch.testing.assert_close(far.grad, torch.full_like(far, -1 / far.numel()), rtol=2e-3, atol=0.0)
