"""Kantorovich-Rubinstein: the cheapest plan costs what the steepest allowed potential gains, and what critics find."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array
from torch import Tensor, nn

from lit_gen.losses import GradientPenalty, Wasserstein, WeightClip
from lit_gen.metrics import wasserstein
from lit_gen.networks import MLPDiscriminator
from lit_gen.optimizers import WGANGPAdam
from style import DATA, MODEL, label, panels

POINTS, STEPS = 48, 500


def points(seed: int = 0, n: int = POINTS) -> tuple[Tensor, Tensor]:
    """A half-circle of data and two clusters of samples, each ``(n, 2)`` float64."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.linspace(0, torch.pi, n)
    noise = torch.randn(2, n, 2, generator=generator)
    centres = torch.tensor([[-1.0, -0.6], [0.6, -0.9]]).repeat_interleave(n // 2, 0)
    real = torch.stack([1.5 * angles.cos(), 1.5 * angles.sin()], 1) + 0.08 * noise[0]
    return real.double(), (centres + 0.25 * noise[1]).double()


def best_plan(x: Tensor, y: Tensor) -> Tensor:
    """The y that each x goes to in the cheapest plan, by index ``(N,)``."""
    return torch.from_numpy(linear_sum_assignment(torch.cdist(x, y).numpy())[1])


def potentials(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """f at x and at y that maximise mean f(x) − mean f(y) with f(xᵢ) − f(yⱼ) ≤ |xᵢ − yⱼ|: a linear programme."""
    n, m = len(x), len(y)
    pairs, (rows, columns) = np.arange(n * m), np.divmod(np.arange(n * m), m)
    entries, places = np.repeat([1.0, -1.0], n * m), (np.tile(pairs, 2), np.concatenate([rows, n + columns]))
    gain = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    limits = torch.cdist(x, y).flatten().numpy()
    solved = linprog(-gain, coo_array((entries, places)), limits, bounds=(None, None))
    f = torch.from_numpy(solved.x)
    return f[:n], f[n:]


def potential_at(where: Tensor, y: Tensor, f_y: Tensor) -> Tensor:
    """f(·) = min_j f(yⱼ) + |· − yⱼ|, which has a slope of 1 and goes through the best values, ``(M,)``."""
    return (f_y + torch.cdist(where, y)).min(1).values


def critic(
    constraint: GradientPenalty | WeightClip, x: Tensor, y: Tensor, steps: int = STEPS, seed: int = 0
) -> nn.Module:
    """WGAN's critic trained on all points."""
    torch.manual_seed(seed)
    network, loss = MLPDiscriminator((2,), width=48, depth=3), Wasserstein()
    if isinstance(constraint, WeightClip):
        constraint.prepare(network)
    optimizer = WGANGPAdam(network.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    real, fake = x.float(), y.float()
    for _ in range(steps):
        value = loss.discriminator(network(real), network(fake))
        if isinstance(constraint, GradientPenalty):
            value = value + constraint(network, real, fake[torch.randperm(len(fake))], torch.rand(len(real)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        decay.step()
        if isinstance(constraint, WeightClip):
            constraint.after_step(network)
    return network


def gap_and_slopes(network: nn.Module, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """mean D(x) − mean D(y), and |∇D| on the lines of the plan, ``(N,)``."""
    x, y = x.float(), y.float()
    between = torch.lerp(x, y[best_plan(x, y)], torch.linspace(0, 1, len(x))[:, None]).requires_grad_()
    (gradient,) = torch.autograd.grad(network(between).sum(), between)
    return (network(x).mean() - network(y).mean()).item(), gradient.norm(dim=1)


def surface(axis: Axes, values: Tensor, side: int, x: Tensor, y: Tensor) -> None:
    """Level lines of a potential in the square, and the points."""
    ticks = torch.linspace(-2, 2, side)
    axis.contourf(ticks, ticks, values.reshape(side, side).T, levels=16, cmap="RdBu", alpha=0.45)
    axis.plot(*x.T, ".", color=DATA, ms=4)
    axis.plot(*y.T, ".", color=MODEL, ms=4)
    axis.set_aspect("equal")


def draw(seed: int = 0) -> tuple[Figure, str]:
    """The plan; the best potential; a critic with a gradient penalty; one with clipped weights."""
    figure, axes = panels(4, width=3.2, height=3.3)
    x, y = points(seed)
    plan, exact = best_plan(x, y), wasserstein(x, y).item()
    f_x, f_y = potentials(x, y)
    for i, j in enumerate(plan):
        axes[0].plot(*torch.stack([x[i], y[j]]).T, color="#999999", lw=0.7)
    axes[0].plot(*x.T, ".", color=DATA, label="data")
    axes[0].plot(*y.T, ".", color=MODEL, label="samples")
    axes[0].set_aspect("equal")
    cost, gain = (x - y[plan]).norm(dim=1).mean().item(), (f_x.mean() - f_y.mean()).item()
    label(axes[0], f"Cheapest plan: {cost:.4f}")
    side = 60
    ticks = torch.linspace(-2, 2, side, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    surface(axes[1], potential_at(grid, y, f_y), side, x, y)
    label(axes[1], f"Best potential: {gain:.4f}")
    told = [f"W₁ {exact:.6f}, plan {cost:.6f}, potential {gain:.6f}"]
    for axis, constraint, name in (
        (axes[2], GradientPenalty(10.0), "gradient penalty"),
        (axes[3], WeightClip(0.1), "weights clipped at 0.1"),
    ):
        network = critic(constraint, x, y, seed=seed)
        gap, slopes = gap_and_slopes(network, x, y)
        with torch.no_grad():
            surface(axis, network(grid.float()), side, x, y)
        label(
            axis,
            f"{name}: gap {gap:.3f}\nslope {slopes.mean():.2f} ± {slopes.std():.2f}, ratio {gap / slopes.mean():.3f}",
        )
        told.append(f"{name}: gap {gap:.3f}, slope {slopes.mean():.3f} ± {slopes.std():.3f}, ratio "
                    f"{gap / slopes.mean():.3f}")  # fmt: skip
    return figure, "; ".join(told)
