"""log p(x) of latent variable models by annealed importance sampling, which needs no inference network."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]

TARGET_ACCEPTANCE = 0.65  # of the transitions, at which Hamiltonian Monte Carlo is most efficient
ADAPTATION = 0.05  # of log step size for each transition


def sigmoid_schedule(steps: int, steepness: float = 4.0) -> list[float]:
    """Temperatures 0 = β_0 < … < β_T = 1 of T = ``steps``, densest at both ends (arXiv:1611.04273, section 4.2).

    Raises:
        ValueError: for less than 1 step.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: annealing needs at least 1 step")

    def rising(t: int) -> float:
        return 1 / (1 + math.exp(-steepness * (2 * t / steps - 1)))

    return [(rising(t) - rising(0)) / (rising(steps) - rising(0)) for t in range(steps + 1)]


def annealed_importance_sampling(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    z: Tensor,
    betas: list[float],
    normal: Callable[[], Tensor],
    uniform: Callable[[], Tensor],
    leapfrog_steps: int = 10,
    step_size: float = 0.1,
) -> Tensor:
    """Log weights whose mean weight estimates p(x) without bias (Neal 2001; for decoders Wu et al., arXiv:1611.04273).

    From exact samples of p(z), C chains an image pass the distributions p(z) p(x | z)^β, by one transition of
    Hamiltonian Monte Carlo at each β, and collect log w = Σ_t (β_t − β_{t−1}) log p(x | z_{t−1}). The estimate log
    mean_c w_c of log p(x) is too low in expectation. A chain's step size follows the acceptance of the image's
    other chains towards 65 %: following its own would make the step depend on where the chain is, and so move the
    distribution that the transitions must keep. A single chain keeps its step size.

    Args:
        log_prior: log p(z) in nats, ``(C, N)``, of z ``(C, N, D)``.
        log_likelihood: log p(x_n | z_cn), likewise.
        z: Samples of p(z), ``(C, N, D)``.
        betas: Temperatures from 0 to 1.
        normal: Draws N(0, 1) of z's shape.
        uniform: Draws U[0, 1) of ``(C, N)``.
        leapfrog_steps: Of a transition.
        step_size: Of a leapfrog step at the start.

    Returns:
        Log weights in nats, ``(C, N)`` float64.
    """
    log_weights = z.new_zeros(z.shape[:2], dtype=torch.float64)
    chains = len(z)
    log_step = torch.full_like(log_weights, math.log(step_size)).to(z.dtype)
    likelihood = log_likelihood(z).detach()
    for before, beta in pairwise(betas):
        log_weights += (beta - before) * likelihood
        if beta == betas[-1]:  # the last transition would move no weight
            return log_weights
        start = Position.at(z, log_prior, log_likelihood, beta)
        momentum = normal()
        end, end_momentum = leapfrog(start, momentum, log_step.exp(), leapfrog_steps, log_prior, log_likelihood, beta)
        gain = end.log_density - start.log_density + 0.5 * (momentum.square() - end_momentum.square()).sum(-1)
        probability = gain.clamp(max=0).exp().nan_to_num(0.0)  # a trajectory that diverged is refused
        accepted = uniform() < probability
        z = torch.where(accepted.unsqueeze(-1), end.z, z)
        likelihood = torch.where(accepted, end.log_likelihood, start.log_likelihood)
        others = (probability.sum(0) - probability) / max(1, chains - 1)
        log_step = log_step + (ADAPTATION * (others - TARGET_ACCEPTANCE) if chains > 1 else 0.0)
    return log_weights


class Position(NamedTuple):
    """A point z ``(C, N, D)`` of the trajectories, and what is known there, ``(C, N)`` each but the gradient."""

    z: Tensor
    log_density: Tensor
    gradient: Tensor
    log_likelihood: Tensor

    @classmethod
    def at(cls, z: Tensor, log_prior: LogDensity, log_likelihood: LogDensity, beta: float) -> "Position":
        """log p(z) + β log p(x | z) and its gradient."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            likelihood = log_likelihood(z)
            log_density = log_prior(z) + beta * likelihood
            (gradient,) = torch.autograd.grad(log_density.sum(), z)
        return cls(z.detach(), log_density.detach(), gradient, likelihood.detach())


def leapfrog(
    start: Position,
    momentum: Tensor,
    step: Tensor,
    steps: int,
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    beta: float,
) -> tuple[Position, Tensor]:
    """The end of the trajectories and the momentum there, by Hamilton's equations in time steps ``step`` ``(C, N)``."""
    step, position = step.unsqueeze(-1), start
    momentum = momentum + 0.5 * step * position.gradient
    for i in range(steps):
        position = Position.at(position.z + step * momentum, log_prior, log_likelihood, beta)
        momentum = momentum + (step if i < steps - 1 else 0.5 * step) * position.gradient
    return position, momentum
