"""Two lines that don't touch: JS is log 2 wherever they are, W₁ is their distance, and so are the slopes they teach."""

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lit_gen.losses import GradientPenalty, Minimax, Wasserstein
from lit_gen.metrics import js_divergence, wasserstein
from lit_gen.networks import MLPDiscriminator
from lit_gen.optimizers import GANAdam
from style import DATA, MODEL, THIRD, label, panels

POINTS, STEPS, DISTANCE = 128, 400, 1.0


def lines(distance: float, points: int = POINTS) -> tuple[Tensor, Tensor]:
    """Evenly on {0} × [0, 1] and on {distance} × [0, 1] (arXiv:1701.07875, example 1), each ``(points, 2)``."""
    heights = (torch.arange(points) + 0.5) / points
    return tuple(torch.stack([torch.full_like(heights, at), heights], 1) for at in (0.0, distance))


def divergence(distance: float) -> float:
    """Jensen-Shannon divergence of the lines in nats, on a grid with a column for each."""
    densities = torch.zeros(2, 2, 100)
    densities[0, 0] = densities[1, int(distance != 0)] = 0.01
    return js_divergence(*densities).item()


def taught_slope(network: nn.Module, fake: Tensor, kind: str) -> float:
    """Mean |∂L_G/∂x| over the generated points, of log(1 − s(D)) or of −D."""
    fake, loss = fake.clone().requires_grad_(), Minimax() if kind == "discriminator" else Wasserstein()
    (gradient,) = torch.autograd.grad(len(fake) * loss.generator(network(fake)), fake)
    return gradient[:, 0].abs().mean().item()


def train(kind: str, steps: int = STEPS, distance: float = DISTANCE, seed: int = 0) -> tuple[nn.Module, list[float]]:
    """A discriminator or a critic of the two lines, and after each step the mean slope it teaches the second line.

    Args:
        kind: "discriminator", cross-entropy, whose generator's loss is log(1 − s(D)); or "critic", WGAN-GP, −D.
        steps: Of Adam, on all points.
        distance: Of the lines.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    real, fake = lines(distance)
    network = MLPDiscriminator((2,), width=48, depth=2)
    optimizer = GANAdam(network.parameters(), lr=3e-3, betas=(0.5, 0.9))
    penalty, taught = GradientPenalty(10.0), []
    for _ in range(steps):
        if kind == "critic":
            loss = Wasserstein().discriminator(network(real), network(fake))
            loss = loss + penalty(network, real, fake[torch.randperm(len(fake))], torch.rand(len(real)))
        else:
            loss = Minimax().discriminator(network(real), network(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        taught.append(taught_slope(network, fake, kind))
    return network, taught


def draw(seed: int = 0) -> tuple[Figure, str]:
    """Both distances over θ, what D and the critic say between the lines, and the slopes at the generated line."""
    figure, (left, middle, right) = panels(3)
    distances = torch.linspace(-2, 2, 41).tolist()
    left.plot(distances, [wasserstein(*lines(d, 32)) for d in distances], color=DATA, label="W₁ = |θ|")
    apart = [d for d in distances if abs(d) > 1e-6]
    left.plot(apart, [divergence(d) for d in apart], ".", ms=3, color=MODEL, label="JS = log 2")
    left.plot(0, divergence(0.0), "o", color=MODEL)
    label(left, "Two lines θ apart", "θ", "distance, or nats")
    x = torch.linspace(-0.5, DISTANCE + 0.5, 151)
    row = torch.stack([x, torch.full_like(x, 0.5)], 1)
    told = [f"W₁ at θ = 1: {wasserstein(*lines(1.0)).item():.4f}, JS {divergence(1.0):.4f}"]
    for kind, colour, name in (("discriminator", MODEL, "s(D(x))"), ("critic", DATA, "critic, mean 0")):
        network, taught = train(kind, seed=seed)
        with torch.no_grad():
            along = network(row).flatten()
            real, fake = (network(points) for points in lines(DISTANCE))
        middle.plot(x, torch.sigmoid(along) if kind == "discriminator" else along - (real + fake).mean() / 2,
                    color=colour, label=name)  # fmt: skip
        right.semilogy(taught, color=colour, label=f"{kind}: {'∂ log(1 − s(D))' if kind[0] == 'd' else '∂D'} / ∂x")
        told.append(f"{kind}: slope at the generated line {taught[9]:.3g} after 10 steps, {taught[-1]:.3g} after "
                    f"{STEPS}")  # fmt: skip
    for axis, at in ((middle, 0.0), (middle, DISTANCE)):
        axis.axvline(at, color=THIRD if at else "black", ls=":", label="generated line" if at else "data's line")
    label(middle, "Between the lines, θ = 1", "x")
    right.axhline(1, color="black", ls=":", lw=1)
    label(right, "Slope that the generator is taught", "steps of D, or of the critic")
    return figure, "; ".join(told)
