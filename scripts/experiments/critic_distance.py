"""What a WGAN critic says of a distance, beside the distance: docs/distances.md's figure and table.

    python scripts/experiments/critic_distance.py --out docs/images/critic_distance.png

Two sets of points in the plane are pulled apart: two lines (arXiv:1701.07875, example 1), and a ring of 8 Gaussians
around a single one, which is what a collapsed generator looks like. At every distance the exact W₁ of the sets, their
Jensen-Shannon divergence, and the gap of mean scores E D(x) − E D(y) of a critic trained on these very points,
once with the gradient penalty of WGAN-GP and once with WGAN's weight clipping.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from lit_gen.losses import GradientPenalty, Wasserstein, WeightClip
from lit_gen.metrics import js_divergence, wasserstein
from lit_gen.networks import MLPDiscriminator
from lit_gen.optimizers import WGANGPAdam

matplotlib.use("Agg")
from matplotlib import pyplot as plt

POINTS = 256
DISTANCES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
STD = 0.05
CONSTRAINTS: dict[str, GradientPenalty | WeightClip] = {
    "gradient penalty": GradientPenalty(10.0),
    "weight clipping": WeightClip(0.1),
}


def lines(distance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points on {0} × [0, 1], and as many on {distance} × [0, 1], at heights of their own."""
    heights = torch.rand(2, POINTS, generator=generator)
    return tuple(torch.stack([torch.full((POINTS,), at), h], 1) for at, h in zip((0.0, distance), heights, strict=True))


def ring(radius: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Eight Gaussians on a ring, and as many points from one in its middle."""
    angles = torch.arange(POINTS) % 8 * (math.pi / 4)
    noise = STD * torch.randn(2, POINTS, 2, generator=generator)
    return radius * torch.stack([angles.cos(), angles.sin()], 1) + noise[0], noise[1]


def lines_divergence(distance: float) -> float:
    """Jensen-Shannon divergence of the two lines, on a grid with a column for each."""
    densities = torch.zeros(2, 2, 100)
    densities[0, 0], densities[1, 1] = 0.01, 0.01
    return js_divergence(*densities).item()


def ring_divergence(radius: float) -> float:
    """Jensen-Shannon divergence of the mixtures, on a grid with 4 cells to a standard deviation."""
    cell = STD / 4
    axis = torch.arange(-radius - 5 * STD, radius + 5 * STD, cell, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    means = radius * torch.stack([angles.cos(), angles.sin()], 1)
    kernel = [(-(grid - mean).square().sum(1) / (2 * STD**2)).exp() / (2 * math.pi * STD**2) for mean in means]
    middle = (-grid.square().sum(1) / (2 * STD**2)).exp() / (2 * math.pi * STD**2)
    return js_divergence(torch.stack(kernel).mean(0), middle, cell**2).item()


PAIRS: dict[str, tuple[Callable, Callable]] = {"lines": (lines, lines_divergence), "ring": (ring, ring_divergence)}


def dual_estimate(
    constraint: GradientPenalty | WeightClip, real: Tensor, fake: Tensor, steps: int = 800, seed: int = 0
) -> tuple[float, float]:
    """The trained critic's gap of mean scores, and its mean slope between the sets."""
    torch.manual_seed(seed)
    critic, loss = MLPDiscriminator((2,), width=64, depth=3), Wasserstein()
    if isinstance(constraint, WeightClip):
        constraint.prepare(critic)
    optimizer = WGANGPAdam(critic.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        value = loss.discriminator(critic(real), critic(fake))
        if isinstance(constraint, GradientPenalty):
            value = value + constraint(critic, real, fake[torch.randperm(len(fake))], torch.rand(len(real)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        decay.step()
        if isinstance(constraint, WeightClip):
            constraint.after_step(critic)
    between = torch.lerp(real, fake[torch.randperm(len(fake))], torch.rand(len(real), 1)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between)
    gap = critic(real).mean() - critic(fake).mean()
    return gap.item(), gradient.norm(dim=1).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("critic_distance.png"), help="figure to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="several give mean ± deviation")
    parser.add_argument("--steps", type=int, default=800, help="of each critic's training")
    arguments = parser.parse_args()
    start = time.perf_counter()

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    columns = [f"{name}: {what}" for name in CONSTRAINTS for what in ("gap", "slope", "gap / slope")]
    print(f"| pair | distance | JS (nats) | exact W₁ | {' | '.join(columns)} |")
    print("|---" * (4 + len(columns)) + "|")
    for axis, (name, (points, divergence)) in zip(axes, PAIRS.items(), strict=True):
        exact, gaps = [], {constraint: [] for constraint in CONSTRAINTS}
        divergences = [divergence(distance) for distance in DISTANCES]
        for distance, js in zip(DISTANCES, divergences, strict=True):
            real, fake = points(distance, torch.Generator().manual_seed(0))
            exact.append(wasserstein(real, fake).item())
            cells = []
            for kind, constraint in CONSTRAINTS.items():
                runs = np.array(
                    [dual_estimate(constraint, real, fake, arguments.steps, seed) for seed in arguments.seeds]
                )
                gaps[kind].append(runs[:, 0].mean())
                values = (runs[:, 0], runs[:, 1], runs[:, 0] / runs[:, 1])
                cells += [f"{value.mean():.3f}" + f" ± {value.std():.3f}" * (len(value) > 1) for value in values]
            print(f"| {name} | {distance} | {js:.3f} | {exact[-1]:.3f} | {' | '.join(cells)} |", flush=True)
        axis.loglog(DISTANCES, exact, "k-", label="exact $W_1$")
        axis.loglog(DISTANCES, gaps["gradient penalty"], "o", label="critic, gradient penalty $\\lambda=10$")
        axis.loglog(DISTANCES, gaps["weight clipping"], "x", label="critic, weights clipped at 0.1")
        axis.loglog(DISTANCES, divergences, "--", label="Jensen-Shannon divergence")
        axis.set_title({"lines": "two parallel lines", "ring": "a ring of 8 Gaussians and its middle"}[name])
        axis.set_xlabel({"lines": "distance $\\theta$", "ring": "radius"}[name])
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=110)
    print(f"\nseeds {arguments.seeds}, {arguments.steps} steps a critic, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
