"""log p(x) of latent variable models by annealed importance sampling, which needs no inference network."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lit_gen.precision import to_float64

LogDensity = Callable[[Tensor], Tensor]

TARGET_ACCEPTANCE = 0.65  # of the transitions, at which Hamiltonian Monte Carlo is most efficient
ADAPTATION = 0.05  # of log step size for each transition
PILOTS = 4  # chains an image, at most, that find the step sizes


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
    start: Callable[[], Tensor],
    betas: list[float],
    normal: Callable[[], Tensor],
    uniform: Callable[[], Tensor],
    leapfrog_steps: int = 10,
    step_size: float = 0.1,
) -> Tensor:
    """Log weights whose mean weight estimates p(x) without bias (Neal 2001; for decoders Wu et al., arXiv:1611.04273).

    From exact samples of p(z), C chains an image pass the distributions p(z) p(x | z)^β, by one transition of
    Hamiltonian Monte Carlo at each β, and collect log w = Σ_t (β_t − β_{t−1}) log p(x | z_{t−1}). The estimate log
    mean_c w_c of log p(x) is too low in expectation.

    The step size of each transition and image is found by a pilot run before, of up to PILOTS chains whose weights
    are not counted: it follows their acceptance towards 65 %. The chains that count keep it, whatever they accept.
    Steps that followed them, even one another's, would depend on where they are, and the estimate of p(x) be biased.

    Args:
        log_prior: log p(z) in nats, ``(C, N)``, of z ``(C, N, D)``, for any number C of chains.
        log_likelihood: log p(x_n | z_cn), likewise.
        start: Draws samples of p(z), ``(C, N, D)``.
        betas: Temperatures from 0 to 1.
        normal: Draws N(0, 1) of z's shape.
        uniform: Draws U[0, 1) of ``(C, N)``.
        leapfrog_steps: Of a transition.
        step_size: Of a leapfrog step at the start of the pilot run.

    Returns:
        Log weights in nats, ``(C, N)`` float64.
    """
    model = (log_prior, log_likelihood)
    tempered = betas[1:-1]  # of the transitions: one at β = 1 would move no weight
    log_steps = pilot(*model, start, tempered, normal, uniform, leapfrog_steps, math.log(step_size))
    z = start()
    likelihood = log_likelihood(z).detach()
    log_weights = (betas[1] - betas[0]) * to_float64(likelihood)
    for (beta, after), log_step in zip(pairwise(betas[1:]), log_steps, strict=True):
        z, likelihood, _ = transition(*model, z, beta, normal(), uniform(), log_step.exp(), leapfrog_steps)
        log_weights += (after - beta) * to_float64(likelihood)
    return log_weights


def pilot(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    start: Callable[[], Tensor],
    betas: list[float],
    normal: Callable[[], Tensor],
    uniform: Callable[[], Tensor],
    leapfrog_steps: int,
    log_step: float,
) -> list[Tensor]:
    """Logarithms of the step sizes ``(N,)`` at each β with which about 65 % of the transitions are accepted."""
    if not betas:
        return []
    z = start()[:PILOTS]
    log_steps = [torch.full_like(z[0, :, 0], log_step)]
    for beta in betas[:-1]:
        momentum, u = normal()[:PILOTS], uniform()[:PILOTS]
        z, _, probability = transition(
            log_prior, log_likelihood, z, beta, momentum, u, log_steps[-1].exp(), leapfrog_steps
        )
        log_steps.append(log_steps[-1] + ADAPTATION * (probability.mean(0) - TARGET_ACCEPTANCE))
    return log_steps


def transition(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    z: Tensor,
    beta: float,
    momentum: Tensor,
    uniform: Tensor,
    step: Tensor,
    leapfrog_steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """One transition of Hamiltonian Monte Carlo: z, log p(x | z), and the probability of acceptance, ``(C, N)``."""
    start = Position.at(z, log_prior, log_likelihood, beta)
    end, end_momentum = leapfrog(start, momentum, step, leapfrog_steps, log_prior, log_likelihood, beta)
    gain = end.log_density - start.log_density + 0.5 * (momentum.square() - end_momentum.square()).sum(-1)
    probability = gain.clamp(max=0).exp().nan_to_num(0.0)  # a trajectory that diverged is refused
    accepted = uniform < probability
    z = torch.where(accepted.unsqueeze(-1), end.z, z)
    return z, torch.where(accepted, end.log_likelihood, start.log_likelihood), probability


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
    """The end of the trajectories and the momentum there, by Hamilton's equations in time steps ``step`` ``(N,)``."""
    step, position = step.unsqueeze(-1), start
    momentum = momentum + 0.5 * step * position.gradient
    for i in range(steps):
        position = Position.at(position.z + step * momentum, log_prior, log_likelihood, beta)
        momentum = momentum + (step if i < steps - 1 else 0.5 * step) * position.gradient
    return position, momentum
