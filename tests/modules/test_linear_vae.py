"""The linear VAE is probabilistic PCA (Tipping and Bishop 1999; Lucas et al. 2019, arXiv:1911.02469): an exact oracle.

With data covariance eigenvalues λ and latent dimension k the maximum of the likelihood has σ² = the mean of the
D − k smallest λ and W = U (Λ − σ² I)^½. There the bound is tight. With σ² held fixed, exactly the dimensions with
λ > σ² stay active: the others collapse.
"""

import math
from functools import partial

import pytest
import torch

from lit_gen import VAE
from lit_gen.distributions import Gaussian, SharedSigmaGaussian
from lit_gen.losses import ELBO, IWAE, log_mean_exp
from lit_gen.networks import MLPDecoder, MLPEncoder

EIGENVALUES = torch.tensor([4.0, 2.5, 1.2, 0.5, 0.3, 0.2], dtype=torch.float64)
MEAN = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0, -1.0], dtype=torch.float64)
D, N = 6, 60


def data():
    """N points with exactly MEAN and a covariance of exactly EIGENVALUES."""
    generator = torch.Generator().manual_seed(0)
    points, basis = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((N, D), (D, D)))
    points = points - points.mean(0)
    white = points @ torch.linalg.inv(torch.linalg.cholesky(points.T @ points / N)).T
    return white * EIGENVALUES.sqrt() @ torch.linalg.qr(basis).Q.T + MEAN


def exact_noise(latent_dim):
    """±√d eᵢ for each image: means over these 2d points are exact for every quadratic function of N(0, I)."""
    points = math.sqrt(latent_dim) * torch.eye(latent_dim, dtype=torch.float64)
    return torch.cat([points, -points]).expand(N, -1, -1)


def train(latent_dim, likelihood):
    """Minimise the bound, whose expectations are exact, by L-BFGS on all data."""
    torch.manual_seed(0)
    module = VAE(
        (D,), latent_dim, partial(MLPEncoder, depth=0), partial(MLPDecoder, depth=0), likelihood,
        objective=ELBO(samples=2 * latent_dim),
    ).double()  # fmt: skip
    x, noise = data(), exact_noise(latent_dim)
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=600, history_size=30, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss, _ = module.loss(x, noise)
        loss.backward()
        return loss

    optimizer.step(closure)
    return module, closure().item()


def log_likelihood(variance, active):
    """Mean log p(x) of probabilistic PCA whose ``active`` first directions have the data's own variances."""
    variances = torch.cat([EIGENVALUES[:active], variance.expand(D - active)])
    return -0.5 * (D * math.log(2 * math.pi) + variances.log().sum() + (EIGENVALUES / variances).sum()).item()


def active_dimensions(module):
    means = module.encode(data())
    return int((means.var(0) > 0.01).sum())


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_training_reaches_the_closed_form_optimum(latent_dim):
    module, nelbo = train(latent_dim, SharedSigmaGaussian)
    variance = EIGENVALUES[latent_dim:].mean()
    assert nelbo == pytest.approx(-log_likelihood(variance, latent_dim), abs=1e-3)
    assert module.likelihood.raw_log_sigma.mul(2).exp().item() == pytest.approx(variance.item(), abs=1e-3)
    assert active_dimensions(module) == latent_dim
    w = module.decoder.layers[0].weight.detach()
    torch.testing.assert_close(
        torch.linalg.svdvals(w).square(), EIGENVALUES[:latent_dim] - variance, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(module.decoder.layers[0].bias.detach(), MEAN, rtol=0.0, atol=1e-3)
    # The posterior is exact there, so that every importance weight is p(x).
    terms = module.terms(data(), torch.randn(N, 3, latent_dim, dtype=torch.float64))
    nll = -log_mean_exp(terms.log_weights).mean().item()
    assert nll == pytest.approx(-log_likelihood(variance, latent_dim), abs=1e-3)
    assert IWAE(samples=3)(terms, 0)[0].item() == pytest.approx(nll, abs=1e-9)


@pytest.mark.parametrize(("variance", "active"), [(0.35, 4), (1.0, 3), (3.0, 1), (5.0, 0)])
def test_dimensions_below_the_noise_collapse(variance, active):
    module, nelbo = train(5, partial(Gaussian, sigma=math.sqrt(variance)))
    assert nelbo == pytest.approx(-log_likelihood(torch.tensor(variance), active), abs=1e-3)
    assert active_dimensions(module) == active
    kl = module.terms(data(), exact_noise(5)).kls[0].item()
    assert kl == pytest.approx(0.5 * (EIGENVALUES[:active] / variance).log().sum().item(), abs=1e-3)
