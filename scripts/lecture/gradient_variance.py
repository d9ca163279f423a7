"""Two unbiased gradients of E_q f(z): through the sample, or by the score of q. Their variances are far apart."""

import math
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_gen.distributions import Gaussian, normal_log_prob, reparametrise
from lit_gen.losses import ELBO, IWAE
from lit_gen.models import VAE
from lit_gen.networks import MLPDecoder, MLPEncoder
from style import DATA, FOURTH, MODEL, THIRD, label, panels

ESTIMATORS = {
    "score function": MODEL,
    "score function, baseline": FOURTH,
    "reparametrised": DATA,
    "sticking the landing": THIRD,
}


def toy_gradients(estimator: str, dims: int, samples: int, repeats: int, seed: int = 0) -> Tensor:
    """Estimates of ∂/∂μ₁ E f(z) at μ = 0 with z ~ N(μ, I), f(z) = −½‖z‖², ``(repeats,)``; the true value is 0."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(repeats, samples, dims, generator=generator, dtype=torch.float64)
    mean = torch.zeros(repeats, 1, dims, dtype=torch.float64, requires_grad=True)
    z = reparametrise(mean, torch.zeros_like(mean), noise)
    if estimator == "reparametrised":
        value = -0.5 * z.square().sum(2)
    else:
        z = z.detach()
        f = without_mean(-0.5 * z.square().sum(2), estimator, dim=1)
        value = f * normal_log_prob(z, mean, torch.zeros_like(mean)).sum(2)
    (gradient,) = torch.autograd.grad(value.mean(1).sum(), mean)
    return gradient[:, 0, 0]


def without_mean(f: Tensor, estimator: str, dim: int) -> Tensor:
    """f less the mean of the other samples' f, a baseline that leaves the expectation as it is."""
    if estimator != "score function, baseline" or f.shape[dim] == 1:
        return f
    k = f.shape[dim]
    return f - (f.sum(dim, keepdim=True) - f) / (k - 1)


def toy_variance(estimator: str, dims: int, samples: int) -> float:
    """Closed form of the toy's variance: 1/K reparametrised, (D + 2)(D + 4)/4K by the score (E χ²ᴰ³ = D(D+2)(D+4))."""
    return (1.0 if estimator == "reparametrised" else (dims + 2) * (dims + 4) / 4) / samples


def linear_vae(seed: int = 0) -> tuple[VAE, Tensor]:
    """x = Wz + σε with orthogonal columns of W, so that q can become p(z|x); and data of it."""
    torch.manual_seed(seed)
    vae = VAE((3,), 2, partial(MLPEncoder, depth=0), partial(MLPDecoder, depth=0), partial(Gaussian, sigma=0.6))
    weight = torch.tensor([[1.2, 0.0], [0.0, 0.8], [0.0, 0.0]])
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(weight)
        vae.decoder.layers[0].bias.zero_()
    vae.decoder.requires_grad_(False)
    return vae, torch.randn(64, 2) @ weight.T + 0.6 * torch.randn(64, 3)


def bound_gradient(vae: VAE, x: Tensor, estimator: str, samples: int = 2) -> Tensor:
    """An estimate of the negative ELBO's gradient in the encoder's weights, as a vector."""
    noise = torch.randn(len(x), samples, 2)
    if estimator in ("reparametrised", "sticking the landing"):
        detach = estimator == "sticking the landing"
        loss = -vae.terms(x, noise, detach_posterior=detach).log_weights.mean()
    else:
        mean, log_scale = vae.encoder(x)
        z = reparametrise(mean, log_scale, noise.transpose(0, 1)).detach()
        log_q = normal_log_prob(z, mean, log_scale).sum(2)
        log_p = vae.likelihood.log_prob(x, vae.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2]))
        log_weights = log_p - 0.5 * (z.square() + math.log(2 * math.pi)).sum(2) - log_q
        loss = -(without_mean(log_weights.detach(), estimator, dim=0) * log_q).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(vae.encoder.parameters()))])


def over_training(steps: int, every: int, repeats: int, seed: int = 0) -> tuple[list[int], dict[str, list[float]]]:
    """Total variance of each estimator's gradient while q is learned from exact gradients."""
    vae, x = linear_vae(seed)
    exact = math.sqrt(2) * torch.cat([torch.eye(2), -torch.eye(2)]).expand(len(x), -1, -1)
    optimizer = torch.optim.Adam(vae.encoder.parameters(), lr=0.03)
    times, found = [], {name: [] for name in ESTIMATORS}
    for step in range(steps + 1):
        if step % every == 0:
            times.append(step)
            for name, values in found.items():
                drawn = torch.stack([bound_gradient(vae, x, name) for _ in range(repeats)])
                values.append(drawn.var(0).sum().item())
        loss, _ = ELBO(samples=4)(vae.terms(x, exact), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return times, found


def library_landing(vae: VAE, x: Tensor, noise: Tensor) -> Tensor:
    """The gradient of ``IWAE(1, "stl")``, the library's objective that sticks the landing, as a vector."""
    objective = IWAE(samples=1, gradient="stl")
    loss, _ = objective(vae.terms(x, noise, detach_posterior=objective.detach_posterior), 0)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(vae.encoder.parameters()))])


def draw(seed: int = 0) -> tuple[Figure, str]:
    """The toy's variances by samples and by dimension beside the closed form, and a VAE's over training."""
    figure, (left, middle, right) = panels(3)
    counts, dimensions, told = (2, 4, 16, 64, 256), (1, 2, 5, 10, 20, 50), []
    for name in list(ESTIMATORS)[:3]:
        colour = ESTIMATORS[name]
        by_count = [toy_gradients(name, 10, k, 2000, seed).var().item() for k in counts]
        by_dimension = [toy_gradients(name, d, 4, 4000, seed).var().item() for d in dimensions]
        left.loglog(counts, by_count, "o", ms=4, color=colour, label=name)
        middle.loglog(dimensions, by_dimension, "o", ms=4, color=colour, label=name)
        if "baseline" not in name:
            left.loglog(counts, [toy_variance(name, 10, k) for k in counts], color=colour, lw=1)
            middle.loglog(dimensions, [toy_variance(name, d, 4) for d in dimensions], color=colour, lw=1)
        told.append(f"{name}: variance {by_count[2]:.3g} at D = 10, K = 16")
    label(left, "D = 10, by samples K (lines: closed form)", "K", "variance of ∂/∂μ₁")
    label(middle, "K = 4, by dimension D", "D")
    times, found = over_training(150, 15, 60, seed)
    for name, values in found.items():
        right.semilogy(times, values, "o-", ms=3, color=ESTIMATORS[name], label=name)
        told.append(f"VAE, {name}: {values[0]:.3g} at first, {values[-1]:.3g} at last")
    label(right, "A linear VAE while q nears p(z|x)", "step", "total variance")
    return figure, "; ".join(told)
