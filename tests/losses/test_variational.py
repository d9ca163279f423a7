"""The objectives against closed forms, brute force in float64, and one another."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from lit_gen.distributions import DiagonalNormal, Distribution, normal_log_prob, reparametrise
from lit_gen.losses import ELBO, IWAE, CyclicalWarmUp, LayerTerms, LinearWarmUp, Terms, log_mean_exp

SIGMA = 0.8
W = torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.2, -0.4]], dtype=torch.float64)
X = torch.tensor([0.9, -1.1, 0.4], dtype=torch.float64)
PRECISION = torch.eye(2, dtype=torch.float64) + W.T @ W / SIGMA**2
EVIDENCE = MultivariateNormal(X.new_zeros(3), W @ W.T + SIGMA**2 * torch.eye(3)).log_prob(X)  # log p(x)
POSTERIOR = MultivariateNormal(PRECISION.inverse() @ W.T @ X / SIGMA**2, precision_matrix=PRECISION)
Q = (torch.tensor([0.7, -0.2], dtype=torch.float64), torch.tensor([-0.3, 0.1], dtype=torch.float64))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_gaussian(samples, n, q=Q, w=W, detach=False, seed=0):
    """Terms of p(z) = N(0, I), p(x|z) = N(Wz, σ²) for n copies of X, each with its own leaves as q's parameters."""
    mean, log_scale = (v.expand(n, 2).clone().requires_grad_() for v in q)
    noise = torch.randn(samples, n, 2, dtype=torch.float64, generator=seeded(seed))
    z = reparametrise(mean, log_scale, noise)
    log_likelihood = normal_log_prob(X, z @ w.T, torch.tensor(math.log(SIGMA))).sum(-1)
    return Terms(log_likelihood, [LayerTerms(z, (mean, log_scale), None, detach)]), (mean, log_scale)


def gradients(objective, n, seed=0, q=Q):
    """n independent gradients of the loss in (μ, log σ), ``(n, 4)``."""
    terms, leaves = linear_gaussian(objective.samples, n, q, detach=objective.detach_posterior, seed=seed)
    loss, _ = objective(terms, 0)
    return n * torch.cat(torch.autograd.grad(loss, leaves), 1)


def mean_and_error(values):
    return values.mean(0), values.std(0) / math.sqrt(len(values))


def two_layers():
    generator = seeded(3)
    numbers = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in [(5, 4, 2)] * 2 + [(4, 2)] * 4]
    z1, z2, m1, s1, m2, s2 = numbers
    prior = DiagonalNormal(0.3 * z2, torch.full_like(z2, -0.2))
    layers = [LayerTerms(z1, (m1, s1), prior), LayerTerms(z2, (m2, s2))]
    return Terms(torch.randn(5, 4, dtype=torch.float64, generator=generator), layers)


def test_terms_equal_torch_distributions():
    terms = two_layers()
    first, second = terms.layers
    q1, q2 = (Independent(Normal(m, s.exp()), 1) for m, s in (first.posterior, second.posterior))
    p1, p2 = (
        Independent(Normal(first.prior.mean, first.prior.log_scale.exp()), 1),
        Independent(Normal(m0 := torch.zeros(4, 2, dtype=torch.float64), m0 + 1), 1),
    )
    torch.testing.assert_close(
        first.kl,
        kl_divergence(Independent(Normal(first.posterior[0].expand(5, 4, 2), first.posterior[1].exp()), 1), p1),
    )
    torch.testing.assert_close(second.kl, kl_divergence(q2, p2)[None])
    log_weights = (
        terms.log_likelihood
        + p1.log_prob(first.z)
        - q1.log_prob(first.z)
        + p2.log_prob(second.z)
        - q2.log_prob(second.z)
    )
    torch.testing.assert_close(terms.log_weights, log_weights)
    torch.testing.assert_close(terms.kls[0], first.kl.mean())


class Free(Distribution):
    """N(0, I), but no DiagonalNormal."""

    def log_prob(self, z):
        return normal_log_prob(z, *map(z.new_tensor, (0.0, 0.0))).sum(-1)

    def sample(self, noise, temperature=1.0):
        return temperature * noise


def test_a_free_density_gives_the_sampled_divergence():
    terms, _ = linear_gaussian(4, 3)
    layer = terms.layers[0]
    known = LayerTerms(layer.z, layer.posterior, Free())
    torch.testing.assert_close(known.log_prior, layer.log_prior)
    torch.testing.assert_close(known.kl, layer.log_posterior - layer.log_prior)
    many, _ = linear_gaussian(1, 200_000)
    layer = many.layers[0]
    mean, error = mean_and_error((layer.log_posterior - layer.log_prior)[0].detach())
    assert abs(mean - layer.kl.mean()) < 4 * error


@pytest.mark.parametrize("latent_shape", [(3,), (2, 4, 4)])
def test_divergences_sum_over_all_dimensions_of_a_layer(latent_shape):
    mean, log_scale = (torch.randn(5, *latent_shape, generator=seeded(i)) for i in range(2))
    layer = LayerTerms(torch.randn(2, 5, *latent_shape), (mean, log_scale))
    assert layer.kl.shape == (1, 5)
    assert layer.log_prior.shape == layer.log_posterior.shape == (2, 5)
    torch.testing.assert_close(
        layer.kl[0], kl_divergence(Normal(mean, log_scale.exp()), Normal(0, 1)).flatten(1).sum(1)
    )


def test_the_gap_of_the_elbo_is_the_divergence_from_the_true_posterior():
    terms, _ = linear_gaussian(1, 200_000)
    loss, values = ELBO()(terms, 0)
    _, error = mean_and_error(terms.log_likelihood[0].detach())
    gap = kl_divergence(MultivariateNormal(Q[0], torch.diag((2 * Q[1]).exp())), POSTERIOR)
    assert gap > 0.1
    assert abs(loss + EVIDENCE - gap) < 4 * error
    torch.testing.assert_close(values["reconstruction_nats"] + values["kl_nats"], loss)


def test_log_weights_are_the_evidence_where_q_is_the_posterior():
    diagonal = torch.linalg.svd(W, full_matrices=False)
    w = diagonal.U * diagonal.S  # the latents rotated: the posterior factorises
    precision = 1 + diagonal.S**2 / SIGMA**2
    terms, _ = linear_gaussian(7, 3, (w.T @ X / SIGMA**2 / precision, -0.5 * precision.log()), w)
    torch.testing.assert_close(terms.log_weights, EVIDENCE.expand(7, 3))
    for objective in (IWAE(samples=7), IWAE(samples=7, gradient="dreg")):
        torch.testing.assert_close(objective(terms, 0)[0], -EVIDENCE)


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("free_bits", [0.0, 0.4])
def test_elbo_by_its_parts(beta, free_bits):
    terms = two_layers()
    kls = [layer.kl.mean() for layer in terms.layers]
    loss, values = ELBO(beta=beta, free_bits=free_bits, samples=5)(terms, 0)
    torch.testing.assert_close(
        loss, -terms.log_likelihood.mean() + beta * sum(max(kl, torch.tensor(free_bits)) for kl in kls)
    )
    assert [values[f"kl_nats_{i}"] for i in (1, 2)] == kls
    torch.testing.assert_close(values["kl_nats"], sum(kls))
    bound = ELBO(beta=beta, free_bits=free_bits).bound(terms)
    torch.testing.assert_close(bound["nelbo_nats"], -terms.log_likelihood.mean() + sum(kls))


def test_free_bits_hold_for_each_layer_on_the_batch_mean():
    means = [torch.tensor([[0.0], [2.0]], requires_grad=True), torch.tensor([[0.1], [0.2]], requires_grad=True)]
    layers = [LayerTerms(torch.zeros(1, 2, 1), (mean, torch.zeros(2, 1))) for mean in means]
    loss, values = ELBO(free_bits=0.5, beta=2.0)(Terms(torch.zeros(1, 2), layers), 0)
    loss.backward()
    assert values["kl_nats_1"].item() == pytest.approx(1.0)  # (0 + 2)/2: one image lies below 0.5, the mean above
    assert values["kl_nats_2"].item() == pytest.approx(0.0125)
    assert loss.item() == pytest.approx(2.0 * (1.0 + 0.5))
    torch.testing.assert_close(means[0].grad, torch.tensor([[0.0], [2.0]]))  # β μ / N
    assert torch.count_nonzero(means[1].grad) == 0


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (LinearWarmUp(4), {0: 0.0, 1: 0.25, 3: 0.75, 4: 1.0, 5: 1.0, 10**9: 1.0}),
        (LinearWarmUp(1), {0: 0.0, 1: 1.0}),
        (CyclicalWarmUp(8), {0: 0.0, 1: 0.25, 4: 1.0, 7: 1.0, 8: 0.0, 10: 0.5, 12: 1.0, 8_000_001: 0.25}),
        (CyclicalWarmUp(4, share=1.0), {0: 0.0, 1: 0.25, 3: 0.75, 4: 0.0, 5: 0.25}),
    ],
)
def test_warm_up_tables(schedule, table):
    assert {update: schedule(update) for update in table} == table
    loss, values = ELBO(beta=3.0, warm_up=schedule)(terms := two_layers(), 1)
    torch.testing.assert_close(loss, -terms.log_likelihood.mean() + 3.0 * table[1] * sum(terms.kls))
    assert values["kl_weight"].item() == pytest.approx(3.0 * table[1])


def test_warm_up_longer_than_the_training_is_refused():
    ELBO(warm_up=LinearWarmUp(100)).check(layers=1, updates=100)
    ELBO(warm_up=CyclicalWarmUp(100, share=0.3)).check(layers=1, updates=30)
    ELBO(warm_up=LinearWarmUp(100)).check(layers=1, updates=math.inf)
    with pytest.raises(ValueError, match=r"LinearWarmUp\(updates=100\).* after 100 updates.* makes 99"):
        ELBO(warm_up=LinearWarmUp(100)).check(layers=1, updates=99)
    with pytest.raises(ValueError, match=r"CyclicalWarmUp.* after 30 updates.* makes 29"):
        ELBO(warm_up=CyclicalWarmUp(100, share=0.3)).check(layers=1, updates=29)


def test_log_mean_exp_stays_in_log_space():
    weights = torch.tensor([[-1.0, -2000.0], [-3.0, -2001.0], [-2.0, -2003.0]])
    exact = torch.tensor(
        [math.log((math.exp(-1) + math.exp(-3) + math.exp(-2)) / 3),
         -2000 + math.log((1 + math.exp(-1) + math.exp(-3)) / 3)]
    )  # fmt: skip
    torch.testing.assert_close(log_mean_exp(weights), exact)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(log_mean_exp(weights), exact)
    terms = Terms(
        torch.full((5, 3), -3e4, requires_grad=True), [LayerTerms(torch.zeros(5, 3, 1), (torch.zeros(3, 1),) * 2)]
    )
    loss, _ = IWAE()(terms, 0)
    loss.backward()
    assert loss.item() == 3e4
    torch.testing.assert_close(terms.log_likelihood.grad, torch.full((5, 3), -1 / 15))


@pytest.mark.parametrize("k", [1, 3])
def test_iwae_bound_and_gradient_by_brute_force(k):
    terms, leaves = linear_gaussian(k, 4)
    loss, values = IWAE(samples=k)(terms, 0)
    log_weights = terms.log_weights
    expected = -sum(math.log(sum(math.exp(w) for w in column) / k) for column in log_weights.T.tolist()) / 4
    assert loss.item() == pytest.approx(expected)
    torch.testing.assert_close(values["nelbo_nats"], -log_weights.mean())
    normalised = (log_weights.exp() / log_weights.exp().sum(0)).detach()
    weighted = torch.autograd.grad(-(normalised * log_weights).sum() / 4, leaves, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, leaves), weighted)
    assert abs(-(normalised * log_weights).sum() / 4 - loss) > 1e-2 or k == 1  # Σ w̃ log w is no bound of log p(x)


def test_the_bound_rises_with_the_number_of_samples_and_stays_below_the_evidence():
    means, errors = [], []
    for k in (1, 2, 5, 20, 100):
        terms, _ = linear_gaussian(k, 40_000, seed=k)
        mean, error = mean_and_error(log_mean_exp(terms.log_weights).detach())
        means.append(mean)
        errors.append(error)
    for i in range(4):
        assert means[i + 1] - means[i] > 4 * math.hypot(errors[i], errors[i + 1])
    assert means[-1] < EVIDENCE + 4 * errors[-1]
    assert EVIDENCE - means[-1] < 0.01


def test_reparametrised_gradient_is_the_score_functions_and_that_of_the_bound():
    """∇ E_q[log p(x|z)] − KL, three ways: along z, by the score of q, and by finite differences of its closed form."""
    pathwise, path_error = mean_and_error(gradients(ELBO(), 100_000))
    terms, leaves = linear_gaussian(1, 400_000, seed=1)
    z = terms.layers[0].z.detach()
    score = normal_log_prob(z, *leaves).sum()
    score_of_q = torch.cat(torch.autograd.grad(score, leaves), 1)
    log_w = terms.log_weights.detach()[0]
    by_score, score_error = mean_and_error(-(log_w - log_w.mean())[:, None] * score_of_q)

    def bound(parameters):
        mean, log_scale = parameters[:2], parameters[2:]
        q = MultivariateNormal(mean, torch.diag((2 * log_scale).exp()))
        return kl_divergence(q, POSTERIOR) - EVIDENCE

    point, step = torch.cat(Q), 1e-5
    steps = step * torch.eye(4, dtype=torch.float64)
    differences = torch.stack([(bound(point + d) - bound(point - d)) / (2 * step) for d in steps])
    assert ((pathwise - differences).abs() < 4 * path_error + 1e-9).all()
    assert ((by_score - differences).abs() < 4 * score_error).all()
    assert (path_error < 2 * score_error).all()  # with a quarter of the samples


@pytest.mark.parametrize(("k", "n"), [(1, 60_000), (5, 60_000), (30, 20_000)])
def test_dreg_has_the_gradient_of_the_bound_with_less_variance(k, n):
    standard, standard_error = mean_and_error(gradients(IWAE(samples=k), n, seed=1))
    dreg, dreg_error = mean_and_error(gradients(IWAE(samples=k, gradient="dreg"), n, seed=2))
    assert ((dreg - standard).abs() < 4.5 * torch.hypot(standard_error, dreg_error)).all()
    assert (dreg.abs() > 4 * dreg_error).any()  # not merely lost in the noise
    assert (dreg_error < standard_error).all()
    assert k < 5 or (dreg_error < 0.7 * standard_error).all()


def test_dreg_leaves_the_generative_gradient_as_it_is():
    found = []
    for gradient in ("standard", "dreg"):
        objective, w = IWAE(samples=5, gradient=gradient), W.clone().requires_grad_()
        terms, _ = linear_gaussian(5, 6, w=w, detach=objective.detach_posterior)
        found.append(torch.autograd.grad(objective(terms, 0)[0], w)[0])
    torch.testing.assert_close(*found)


def test_sticking_the_landing_is_unbiased_and_lands():
    standard, standard_error = mean_and_error(gradients(ELBO(), 60_000, seed=1))
    stl, stl_error = mean_and_error(gradients(IWAE(samples=1, gradient="stl"), 60_000, seed=2))
    assert ((stl - standard).abs() < 4.5 * torch.hypot(standard_error, stl_error)).all()
    diagonal = torch.linalg.svd(W, full_matrices=False)
    precision = 1 + diagonal.S**2 / SIGMA**2
    w = diagonal.U * diagonal.S
    q = (w.T @ X / SIGMA**2 / precision, -0.5 * precision.log())
    for gradient, lands in (("stl", True), ("dreg", True), ("standard", False)):
        objective = IWAE(samples=1, gradient=gradient)
        terms, leaves = linear_gaussian(1, 50, q, w, detach=objective.detach_posterior)
        at_optimum = torch.cat(torch.autograd.grad(objective(terms, 0)[0], leaves), 1)
        assert (at_optimum.abs().max() < 1e-12) == lands  # every single gradient, not only their mean


def test_path_gradients_that_would_be_biased_are_refused():
    with pytest.raises(ValueError, match=r"gradient='stl', samples=5.*'dreg'"):
        IWAE(gradient="stl")
    for objective in (IWAE(gradient="dreg"), IWAE(samples=1, gradient="stl")):
        objective.check(layers=1, updates=1)
        with pytest.raises(ValueError, match="1 stochastic layer, not 2"):
            objective.check(layers=2, updates=1)
    IWAE().check(layers=5, updates=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ELBO(beta=-1.0), "beta=-1"),
        (lambda: ELBO(beta=math.nan), "beta=nan"),
        (lambda: ELBO(free_bits=-0.1), "free_bits=-0.1"),
        (lambda: ELBO(samples=0), "samples=0"),
        (lambda: IWAE(samples=0), "samples=0"),
        (lambda: IWAE(gradient="rws"), "gradient='rws'.*'standard', 'dreg' and 'stl'"),
        (lambda: LinearWarmUp(0), "updates=0"),
        (lambda: CyclicalWarmUp(0), "period=0"),
        (lambda: CyclicalWarmUp(10, share=0.0), "share=0.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
