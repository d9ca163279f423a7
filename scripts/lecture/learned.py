"""What a model of the data is: a joint density, the likelihood that fits it, and why a map of noise has none."""

import math
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_gen.distributions import Mixture
from lit_gen.metrics import kl_divergence
from style import DATA, FOURTH, GREY, MODEL, THIRD, label, panels

CELL = 0.01
GRID = torch.arange(-8, 8, CELL, dtype=torch.float64).unsqueeze(1)


def normals(weights: list[float], means: list[float], stds: list[float]) -> Mixture:
    """A mixture of normal distributions on a line, in float64."""
    values = [torch.tensor(v, dtype=torch.float64) for v in (weights, means, stds)]
    return Mixture(values[0].log(), values[1][:, None], values[2].log()[:, None])


CLASSES = {0: (0.65, normals([1.0], [-1.0], [0.8])), 1: (0.35, normals([1.0], [1.5], [0.6]))}
DATA_DENSITY = normals([0.65, 0.35], [-1.0, 1.5], [0.8, 0.6])


def joint(y: int) -> Tensor:
    """p(x, y) = p(y) p(x|y) on the grid."""
    weight, density = CLASSES[y]
    return weight * density.log_prob(GRID).exp()


def mean_log_likelihood(mean: float) -> tuple[float, float]:
    """E_p log N(x; mean, 1.4²), and −H(p) − KL(p ‖ N), which is the same, by quadrature, in nats."""
    p, log_w = DATA_DENSITY.log_prob(GRID).exp(), normals([1.0], [mean], [1.4]).log_prob(GRID)
    negative_entropy = CELL * torch.special.xlogy(p, p).sum().item()
    return CELL * (p @ log_w).item(), negative_entropy - kl_divergence(p, log_w.exp(), CELL).item()


def curve(z: Tensor) -> Tensor:
    """G(z), noise on a line to a spiral in the plane, ``(N, 2)``."""
    angle, radius = 1.6 * z, 1.0 + 0.35 * z
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def log_density(x: Tensor, sigma: float, generator: Callable[[Tensor], Tensor] = curve) -> Tensor:
    """log p_σ(x) of G(z) + σ ε with z ~ N(0, 1), ``(N,)``, by 4,001 values of z.

    It is log ∫ N(z; 0, 1) N(x; G(z), σ² I) dz, a mixture with a component for each z: the library's `Mixture`.
    """
    z = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    log_weights = torch.log_softmax(-0.5 * z.square(), 0)
    means = generator(z)
    return Mixture(log_weights, means, torch.full_like(means, math.log(sigma))).log_prob(x)


def probes() -> dict[str, Tensor]:
    """A point on the curve, and points beside it."""
    on, normal = curve(torch.tensor([0.5], dtype=torch.float64)), curve_normal(0.5)
    return {"on the curve": on, "0.05 beside": on + 0.05 * normal, "0.2 beside": on + 0.2 * normal}


def curve_normal(z: float) -> Tensor:
    """The unit normal of the curve at G(z), ``(1, 2)``."""
    at = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    direction = torch.stack([torch.autograd.grad(curve(at)[0, i], at)[0] for i in (0, 1)], 1)
    return torch.cat([-direction[:, 1:], direction[:, :1]], 1) / direction.norm()


def draw(seed: int = 0) -> tuple[Figure, str]:
    """The joint density, the likelihood of a parameter, the density of G(z) + noise, and its limit."""
    del seed  # nothing is random
    figure, axes = panels(4, width=3.3)
    x = GRID.flatten()
    for y, colour in ((0, DATA), (1, MODEL)):
        axes[0].fill_between(x, joint(y), color=colour, alpha=0.35, label=f"p(x, y = {y})")
    axes[0].plot(x, 0.4 * joint(1) / (joint(0) + joint(1)), color="black", lw=1, label="0.4 · p(y = 1 | x)")
    axes[0].set_xlim(-4, 4)
    label(axes[0], "The joint density", "x")
    means = torch.linspace(-2, 2, 41).tolist()
    both = torch.tensor([mean_log_likelihood(m) for m in means])
    axes[1].plot(means, both[:, 0], color=DATA, label="E log p_w(x)")
    axes[1].plot(means, both[:, 1], ":", color=MODEL, lw=3, label="−H(p) − KL(p ‖ p_w)")
    axes[1].axvline(0.65 * -1 + 0.35 * 1.5, color=GREY, ls="--", label="E x")
    label(axes[1], "Likelihood of a mean w", "w", "nats")
    ticks = torch.linspace(-3, 3, 60, dtype=torch.float64)
    values = log_density(torch.cartesian_prod(ticks, ticks), 0.15).reshape(60, 60).T
    axes[2].contourf(ticks, ticks, values.clamp(min=-12), levels=14, cmap="Blues")
    axes[2].plot(*curve(torch.linspace(-2.5, 2.5, 300)).T, color=MODEL, lw=1, label="G(z)")
    axes[2].set_aspect("equal")
    label(axes[2], "log density of G(z) + 0.15 ε")
    sigmas = torch.logspace(-2.5, 0, 40).tolist()
    told = []
    for (name, point), colour in zip(probes().items(), (THIRD, DATA, FOURTH), strict=True):
        found = [log_density(point, sigma).item() for sigma in sigmas]
        axes[3].semilogx(sigmas, found, color=colour, label=name)
        told.append(f"{name}: log p at σ = 1, 0.1, 0.01: " + ", ".join(
            f"{log_density(point, sigma).item():.2f}" for sigma in (1.0, 0.1, 0.01)))  # fmt: skip
    axes[3].set_ylim(-40, 8)
    axes[3].invert_xaxis()
    label(axes[3], "log density at a point, σ → 0", "σ", "nats")
    return figure, "; ".join(told)
