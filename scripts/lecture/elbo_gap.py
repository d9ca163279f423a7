"""log p(x) = ELBO + KL(q ‖ p(z|x)), exactly, on a linear-Gaussian model while q is learned; IWAE closes the gap."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from lit_gen.distributions import Gaussian
from lit_gen.losses import ELBO, IWAE
from lit_gen.models import VAE
from lit_gen.networks import MLPDecoder, MLPEncoder
from style import GREY, MODEL, THIRD, label, panels

SIGMA, N = 0.6, 200
W = torch.tensor([[1.0, 0.7], [0.9, 0.5], [0.1, 0.7]], dtype=torch.float64)
NOISE = (
    math.sqrt(2) * torch.cat([torch.eye(2), -torch.eye(2)]).double()
)  # exact means of quadratic functions of N(0, I)


def model(seed: int = 0) -> VAE:
    """x = W z + σ ε in three dimensions with z in two; q(z|x) is linear in x, with one σ a dimension, and untrained."""
    torch.manual_seed(seed)
    vae = VAE((3,), 2, partial(MLPEncoder, depth=0), partial(MLPDecoder, depth=0), partial(Gaussian, sigma=SIGMA))
    vae = vae.double()
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(W)
        vae.decoder.layers[0].bias.zero_()
    vae.decoder.requires_grad_(False)
    return vae


def data(seed: int = 0, n: int = N) -> Tensor:
    """Points of the model itself, ``(n, 3)``."""
    generator = torch.Generator().manual_seed(seed)
    z, noise = (torch.randn(n, d, generator=generator, dtype=torch.float64) for d in (2, 3))
    return z @ W.T + SIGMA * noise


def log_evidence(x: Tensor) -> Tensor:
    """log p(x) = log N(x; 0, W Wᵀ + σ² I), ``(N,)``."""
    return MultivariateNormal(torch.zeros_like(x), W @ W.T + SIGMA**2 * torch.eye(3, dtype=x.dtype)).log_prob(x)


def true_posterior(x: Tensor) -> MultivariateNormal:
    """p(z|x) = N(M⁻¹ Wᵀ x, σ² M⁻¹), M = Wᵀ W + σ² I."""
    inverse = torch.linalg.inv(W.T @ W + SIGMA**2 * torch.eye(2, dtype=x.dtype))
    return MultivariateNormal(x @ W @ inverse, SIGMA**2 * inverse)


def learned_posterior(vae: VAE, x: Tensor) -> MultivariateNormal:
    """q(z|x)."""
    mean, log_scale = vae.encoder(x)
    return MultivariateNormal(mean, torch.diag_embed((2 * log_scale).exp()))


def least_gap() -> float:
    """½ (Σ log Λᵢᵢ − log |Λ|): KL of the best independent q, whose precisions are the diagonal of p(z|x)'s, Λ."""
    precision = (W.T @ W + SIGMA**2 * torch.eye(2, dtype=W.dtype)) / SIGMA**2
    return 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision)).item()


@dataclass
class Learning:
    """Means over the data before each step, in nats, and ELBO + KL − log p(x) at its largest for a single x."""

    elbo: list[float]
    kl: list[float]
    evidence: float
    identity_error: float


def learn(vae: VAE, x: Tensor, steps: int, rate: float = 0.02) -> Learning:
    """Train q alone on the ELBO, whose expectations are exact."""
    optimizer, evidence = torch.optim.Adam(vae.encoder.parameters(), lr=rate), log_evidence(x)
    found = Learning([], [], evidence.mean().item(), 0.0)
    for _ in range(steps):
        terms = vae.terms(x, NOISE.expand(len(x), -1, -1))
        loss, _ = ELBO(samples=len(NOISE))(terms, 0)
        with torch.no_grad():
            elbo = (terms.log_likelihood - terms.layers[0].kl).mean(0)
            kl = kl_divergence(learned_posterior(vae, x), true_posterior(x))
        found.elbo.append(-loss.item())
        found.kl.append(kl.mean().item())
        found.identity_error = max(found.identity_error, (elbo + kl - evidence).abs().max().item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


@torch.no_grad()
def weighted_bound(vae: VAE, x: Tensor, samples: int, repeats: int, seed: int = 0) -> float:
    """IWAE's bound of K samples in nats, the mean over ``repeats`` draws for each x."""
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.randn(len(x), samples, 2, generator=generator, dtype=x.dtype) for _ in range(repeats))
    return sum(-IWAE(samples=samples)(vae.terms(x, epsilon), 0)[0].item() for epsilon in noise) / repeats


def ellipse(normal: MultivariateNormal, i: int) -> Tensor:
    """Two standard deviations around the mean for the i-th x, ``(2, 100)``."""
    angles = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    factor = normal.scale_tril[i] if normal.scale_tril.ndim == 3 else normal.scale_tril
    return normal.mean[i][:, None] + 2 * factor @ torch.stack([angles.cos(), angles.sin()])


def draw(seed: int = 0, steps: int = 250) -> tuple[Figure, str]:
    """The three terms while q is learned, the bounds of K samples for an early and the last q, and q in the plane."""
    figure, (left, middle, right) = panels(3)
    vae, x = model(seed), data(seed)
    counts = (1, 2, 5, 10, 50, 200)
    names, parts, bounds = ("first q", "q on its way", "last q"), [], []
    truth = true_posterior(x)
    right.plot(*ellipse(truth, 0), color="black", lw=1.6, label="p(z|x)")
    for name, amount, alpha in zip(names, (0, 40, steps - 40), (0.35, 0.6, 1.0), strict=True):
        if amount:
            parts.append(learn(vae, x, amount))
        with torch.no_grad():
            right.plot(*ellipse(learned_posterior(vae, x), 0), color=MODEL, alpha=alpha, label=name)
        bounds.append([weighted_bound(vae, x, k, max(1, 200 // k), seed) for k in counts])
        middle.semilogx(counts, bounds[-1], "o-", ms=3, color=MODEL, alpha=alpha, label=name)
    elbo, kl = parts[0].elbo + parts[1].elbo, parts[0].kl + parts[1].kl
    evidence = parts[0].evidence
    left.axhline(evidence, color="black", label="log p(x)")
    left.plot(elbo, color=MODEL, label="ELBO")
    left.plot(torch.tensor(elbo) + torch.tensor(kl), ls=":", lw=3, color=THIRD, label="ELBO + KL(q ‖ p(z|x))")
    left.axhline(evidence - least_gap(), color=GREY, ls="--", label="best independent q")
    left.set_ylim(evidence - 2.5, evidence + 0.3)
    label(left, "While q is learned (mean over x)", "step", "nats")
    middle.axhline(evidence, color="black", label="log p(x)")
    middle.set_ylim(evidence - 2.5, evidence + 0.3)
    label(middle, "IWAE's bound of K samples", "K", "nats")
    right.set_aspect("equal", "datalim")
    label(right, "One x: two standard deviations", "z₁", "z₂")
    right.get_legend().set_loc("upper left")
    told = (
        f"log p(x) {evidence:.4f}, ELBO {elbo[-1]:.4f}, KL {kl[-1]:.4f} (least of an independent q {least_gap():.4f}); "
        f"|ELBO + KL − log p(x)| at most {max(part.identity_error for part in parts):.1e}; "
        f"first q: ELBO {elbo[0]:.2f}, bound of 200 {bounds[0][-1]:.4f}; last q: bound of 10 {bounds[2][3]:.4f}, "
        f"of 200 {bounds[2][-1]:.4f}"
    )
    return figure, told
