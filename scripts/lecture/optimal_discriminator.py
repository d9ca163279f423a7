"""The best discriminator of two densities is p / (p + q), and the game's value there is 2 JS(p ‖ q) − log 4."""

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from lit_gen.distributions import Mixture
from lit_gen.losses import Minimax
from lit_gen.metrics import js_divergence
from lit_gen.networks import MLPDiscriminator
from lit_gen.optimizers import GANAdam
from style import DATA, GREY, MODEL, THIRD, label, panels

CELL = 0.02
GRID = torch.arange(-6, 10, CELL).unsqueeze(1)
SNAPSHOTS = (0, 20, 100, 600)


def normals(weights: list[float], means: list[float], stds: list[float]) -> Mixture:
    """A mixture of normal distributions on a line."""
    return Mixture(torch.tensor(weights).log(), torch.tensor(means)[:, None], torch.tensor(stds)[:, None].log())


P = normals([0.6, 0.4], [-1.5, 1.5], [0.5, 0.7])
Q = normals([1.0], [0.5], [1.2])


def value(scores: Tensor, p: Mixture, q: Mixture) -> float:
    """V(D, G) = E_p log s(D) + E_q log(1 − s(D)) by quadrature, for the scores D of the grid."""
    log_real, log_fake = F.logsigmoid(scores), F.logsigmoid(-scores)
    return CELL * (p.log_prob(GRID).exp() @ log_real + q.log_prob(GRID).exp() @ log_fake).item()


def bound(p: Mixture, q: Mixture) -> float:
    """The value of the best discriminator, 2 JS(p ‖ q) − log 4."""
    return 2 * js_divergence(p.log_prob(GRID).exp(), q.log_prob(GRID).exp(), CELL).item() - math.log(4)


def train(p: Mixture, q: Mixture, steps: int, seed: int = 0, batch: int = 512) -> tuple[list[float], list[Tensor]]:
    """The values V before each step and after the last, and the grid's scores at the snapshots."""
    torch.manual_seed(seed)
    discriminator, loss = MLPDiscriminator((1,), width=64, depth=2), Minimax()
    optimizer = GANAdam(discriminator.parameters(), lr=5e-3, betas=(0.9, 0.999))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    values, scores = [], []
    for step in range(steps + 1):
        with torch.no_grad():
            on_grid = discriminator(GRID).flatten()
        values.append(value(on_grid, p, q))
        if step in SNAPSHOTS:
            scores.append(on_grid)
        real, fake = p.sample(torch.randn(batch, 1)), q.sample(torch.randn(batch, 1))
        optimizer.zero_grad()
        loss.discriminator(discriminator(real), discriminator(fake)).backward()
        optimizer.step()
        decay.step()
    return values, scores


def error(scores: Tensor, p: Mixture, q: Mixture) -> float:
    """Mean |s(D) − p/(p + q)| over (p + q)/2."""
    best = torch.sigmoid(p.log_prob(GRID) - q.log_prob(GRID))
    weight = CELL * (p.log_prob(GRID).exp() + q.log_prob(GRID).exp()) / 2
    return (weight @ (torch.sigmoid(scores) - best).abs()).item()


def draw(seed: int = 0) -> tuple[Figure, str]:
    """D on the way to p/(p + q), its value on the way to the bound, and bounds of shifted Gaussians."""
    figure, (left, middle, right) = panels(3)
    values, scores = train(P, Q, SNAPSHOTS[-1], seed)
    x = GRID.flatten()
    for density, colour, name in ((P, DATA, "p, data"), (Q, MODEL, "q, model")):
        left.fill_between(x, density.log_prob(GRID).exp(), color=colour, alpha=0.3, label=name)
    left.plot(x, torch.sigmoid(P.log_prob(GRID) - Q.log_prob(GRID)), "k--", lw=1.5, label="p / (p + q)")
    for step, on_grid, alpha in zip(SNAPSHOTS, scores, (0.3, 0.5, 0.7, 1.0), strict=True):
        left.plot(x, torch.sigmoid(on_grid), color=THIRD, alpha=alpha, lw=1.3, label=f"s(D), step {step}")
    left.set(xlim=(-4, 4), ylim=(-0.02, 1.45))
    label(left, "The discriminator", "x")
    left.legend(ncol=2, fontsize=7, loc="upper center")
    middle.semilogx(range(1, len(values) + 1), values, color=THIRD, label="V(D, G)")
    middle.axhline(bound(P, Q), color="black", ls="--", label="2 JS(p ‖ q) − log 4")
    middle.axhline(-math.log(4), color=GREY, ls=":", label="−log 4")
    label(middle, "The game's value over training", "step + 1", "nats")
    shifts = torch.linspace(0, 5, 26).tolist()
    right.plot(shifts, [bound(normals([1.0], [0.0], [1.0]), moved(s)) for s in shifts], "k--", label="2 JS − log 4")
    found = {s: train(normals([1.0], [0.0], [1.0]), moved(s), 200, seed)[0][-1] for s in (0.0, 1.0, 2.0, 3.0, 5.0)}
    right.plot(list(found), list(found.values()), "o", color=THIRD, label="V of a trained D")
    right.axhline(-math.log(4), color=GREY, ls=":", label="−log 4: q = p")
    right.axhline(0, color=GREY, label="0: told apart")
    label(right, "N(0, 1) against N(θ, 1)", "θ")
    gap = max(abs(v - bound(normals([1.0], [0.0], [1.0]), moved(s))) for s, v in found.items())
    told = (
        f"V after training {values[-1]:.4f}, 2 JS − log 4 = {bound(P, Q):.4f}, highest V {max(values):.4f}; "
        f"mean |s(D) − p/(p + q)| {error(scores[0], P, Q):.3f} before, {error(scores[-1], P, Q):.4f} after; "
        f"shifted Gaussians: V within {gap:.4f} of the bound"
    )
    return figure, told


def moved(shift: float) -> Mixture:
    """N(shift, 1)."""
    return normals([1.0], [shift], [1.0])
