"""Gradient steps around the saddle point of xy: they run away, circle, or arrive, by a factor that is known."""

import math
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_gen.losses import R1, AdversarialLoss, NonSaturating, Wasserstein
from style import DATA, GREY, MODEL, THIRD, label, panels

RATE, GAMMA, STEPS = 0.1, 0.3, 200
START = (1.0, 0.0)


def orbit(
    loss: AdversarialLoss,
    gamma: float = 0.0,
    alternating: bool = False,
    steps: int = STEPS,
    rate: float = RATE,
    start: tuple[float, float] = START,
) -> Tensor:
    """(θ, ψ) before each step and after the last of the Dirac-GAN (arXiv:1801.04406, section 2), ``(steps + 1, 2)``.

    The data are one point, 0, the generator makes one point, θ, and D(x) = ψ x, so that Wasserstein's game is ψθ.

    Args:
        loss: Of both players.
        gamma: Weight of R₁, here γψ²/2; 0 for none.
        alternating: Whether the generator sees the discriminator's step of the same round.
        steps: Rounds.
        rate: Step size of both.
        start: (θ, ψ).
    """
    theta, psi = (torch.tensor(value, dtype=torch.float64) for value in start)
    path, data = [torch.stack([theta, psi])], torch.zeros(1, 1, dtype=torch.float64)
    for _ in range(steps):
        psi_now, theta_now = psi.clone().requires_grad_(), theta.clone().requires_grad_()
        discriminator = scorer(psi_now)
        cost = loss.discriminator(discriminator(data), discriminator(theta.view(1, 1)))
        if gamma > 0:
            cost = cost + R1(gamma)(discriminator, data, theta.view(1, 1), torch.zeros(1))
        (of_psi,) = torch.autograd.grad(cost, psi_now)
        new_psi = psi - rate * of_psi
        judge = scorer(new_psi if alternating else psi)
        (of_theta,) = torch.autograd.grad(loss.generator(judge(theta_now.view(1, 1))), theta_now)
        theta, psi = theta - rate * of_theta, new_psi
        path.append(torch.stack([theta, psi]))
    return torch.stack(path)


def scorer(psi: Tensor) -> Callable[[Tensor], Tensor]:
    """D(x) = ψ x."""
    return lambda x: psi * x


def factor(gamma: float, alternating: bool, rate: float = RATE) -> float:
    """By how much a step of the game ψθ with R₁ stretches an orbit, as long as it turns (complex eigenvalues).

    The step is linear with the determinant 1 − ηγ + η², alternating 1 − ηγ, whose root is the eigenvalues' modulus.
    """
    return math.sqrt(1 - rate * gamma + (0.0 if alternating else rate**2))


RUNS = {
    "simultaneous": (0.0, False, MODEL),
    "alternating": (0.0, True, GREY),
    "simultaneous, R₁": (GAMMA, False, DATA),
    "alternating, R₁": (GAMMA, True, THIRD),
}


def draw(seed: int = 0) -> tuple[Figure, str]:
    """Orbits of the bilinear game and of the Dirac-GAN, and their radius over the steps beside its theory."""
    del seed  # nothing is random
    figure, axes = panels(3)
    told = []
    for axis, loss, title in (
        (axes[0], Wasserstein(), "Wasserstein: the game xy"),
        (axes[1], NonSaturating(), "Non-saturating: the Dirac-GAN"),
    ):
        for name, (gamma, alternating, colour) in RUNS.items():
            path = orbit(loss, gamma, alternating)
            axis.plot(path[:, 0], path[:, 1], color=colour, lw=1.1, label=name)
        axis.plot(0, 0, "k+", ms=10)
        axis.plot(*START, "ko", ms=4)
        axis.set_aspect("equal", "datalim")
        label(axis, title, "generator θ", "discriminator ψ")
    for name, (gamma, alternating, colour) in RUNS.items():
        radius = orbit(Wasserstein(), gamma, alternating).norm(dim=1)
        axes[2].semilogy(radius, color=colour, lw=1.3, label=name)
        axes[2].semilogy([factor(gamma, alternating) ** t for t in range(STEPS + 1)], color=colour, ls=":", lw=1.0)
        told.append(f"{name}: radius {radius[-1]:.3g} after {STEPS} steps, factor^{STEPS} = "
                    f"{factor(gamma, alternating) ** STEPS:.3g}")  # fmt: skip
    label(axes[2], "xy: distance from the saddle (dots: theory)", "step")
    return figure, "; ".join(told)
