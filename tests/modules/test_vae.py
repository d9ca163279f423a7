from functools import partial

import pytest
import torch
from torch import distributions

from lit_gen import VAE
from lit_gen.distributions import Bernoulli, Gaussian
from lit_gen.losses import ELBO
from lit_gen.networks import MLPDecoder, MLPEncoder

SHAPE = (1, 4, 4)


def build(**kwargs):
    torch.manual_seed(0)
    small = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8), "latent_dim": 3}
    return VAE(SHAPE, **{**small, **kwargs}).double()


def test_the_bound_is_its_definition():
    module = build()
    x, noise = torch.rand(6, *SHAPE, dtype=torch.float64), torch.randn(6, 1, 3, dtype=torch.float64)
    total = 0.0
    for i in range(6):  # image by image, with torch's own distributions
        mean, log_scale = module.encoder(x[i : i + 1])
        z = mean + log_scale.exp() * noise[i]
        pixels = distributions.Bernoulli(logits=module.decoder(z), validate_args=False)
        posterior, prior = distributions.Normal(mean, log_scale.exp()), distributions.Normal(0.0, 1.0)
        divergence = distributions.kl_divergence(posterior, prior)
        total += -pixels.log_prob(x[i : i + 1]).sum() + divergence.sum()
    loss, values = module.loss(x, noise)
    torch.testing.assert_close(loss, total / 6)
    torch.testing.assert_close(values["reconstruction_nats"] + values["kl_nats"], total / 6)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence_alone(beta):
    module = build(objective=ELBO(beta=beta))
    x, noise = torch.rand(6, *SHAPE, dtype=torch.float64), torch.randn(6, 1, 3, dtype=torch.float64)
    _, values = build().loss(x, noise)
    loss, weighted = module.loss(x, noise)
    torch.testing.assert_close(loss, values["reconstruction_nats"] + beta * values["kl_nats"])
    torch.testing.assert_close(weighted["kl_nats"], values["kl_nats"])


def test_the_bound_lies_below_the_evidence_of_a_linear_model():
    """Probabilistic PCA: log p(x) is known, and the bound with the true posterior attains it."""
    torch.manual_seed(1)
    sigma, w = 0.7, torch.randn(5, 2, dtype=torch.float64)
    module = VAE(
        (5,), latent_dim=2, likelihood=partial(Gaussian, sigma=sigma), encoder=partial(MLPEncoder, depth=0),
        decoder=partial(MLPDecoder, depth=0),
    ).double()  # fmt: skip
    decoder = [m for m in module.decoder.modules() if isinstance(m, torch.nn.Linear)][-1]
    decoder.weight.data, decoder.bias.data = w, torch.zeros(5, dtype=torch.float64)
    covariance = w @ w.T + sigma**2 * torch.eye(5, dtype=torch.float64)
    x = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).sample((4,))
    evidence = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).log_prob(x)
    # A factorised Gaussian can only be the posterior if WᵀW is diagonal: rotate the latents so that it is.
    _, _, rotation = torch.linalg.svd(w, full_matrices=False)
    decoder.weight.data = w @ rotation.T
    precision = torch.eye(2, dtype=torch.float64) + decoder.weight.data.T @ decoder.weight.data / sigma**2
    assert (precision - precision.diag().diag()).abs().max() < 1e-9
    mean = x @ decoder.weight.data / sigma**2 / precision.diag()
    log_scale = (-0.5 * precision.diag().log()).expand_as(mean)
    for shift, check in ((0.0, lambda gap: abs(gap) < 0.05), (0.5, lambda gap: gap > 0.1)):
        module.encoder.forward = lambda _, shift=shift: (mean.repeat(5000, 1) + shift, log_scale.repeat(5000, 1))
        noise = torch.randn(20_000, 1, 2, dtype=torch.float64)
        gap = (module.loss(x.repeat(5000, 1), noise)[0] + evidence.mean()).item()
        assert check(gap), (shift, gap)


def test_negative_beta_is_refused():
    with pytest.raises(ValueError, match="beta=-1"):
        ELBO(beta=-1.0)


@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_noise_that_nobody_reads_is_not_drawn_and_changes_no_other(binarization, monkeypatch):
    module, drawn = build(likelihood=partial(Bernoulli, binarization=binarization)).float(), []
    uniform, batch = module.random.uniform, (torch.rand(6, *SHAPE),)
    monkeypatch.setattr(module.random, "uniform", lambda *shape: drawn.append(shape) or uniform(*shape))
    module.random.reseed(0, "train", 0)
    x, noise = module.draw(batch, 2)
    assert len(drawn) == (binarization == "dynamic")
    monkeypatch.setattr(Bernoulli, "needs_noise", True)
    module.random.reseed(0, "train", 0)
    assert all(map(torch.equal, module.draw(batch, 2), (x, noise)))
