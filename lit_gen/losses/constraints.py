"""Constraints on a discriminator's weights that hold it Lipschitz."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from lit_gen.networks.spectral import add_spectral_norm


class Constraint(ABC):
    """A constraint on the weights of a network: set up once, restored after each step."""

    @abstractmethod
    def prepare(self, network: nn.Module) -> None:
        """Bring a new network into the constraint; once, before its optimizer is made."""

    @abstractmethod
    def after_step(self, network: nn.Module) -> None:
        """Bring it back after an optimizer step."""


@dataclass(frozen=True)
class WeightClip(Constraint):
    """Every parameter in [−c, c] after every step (WGAN, Arjovsky et al. 2017, arXiv:1701.07875, alg. 1).

    Args:
        bound: c.

    Raises:
        ValueError: for a bound that is not positive and finite.
    """

    bound: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise ValueError(f"bound={self.bound}: WeightClip needs a positive, finite number")

    def prepare(self, network: nn.Module) -> None:
        """Clip the initial weights, so that training starts in the box."""
        self.after_step(network)

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """Clip every parameter."""
        for parameter in network.parameters():
            parameter.clamp_(-self.bound, self.bound)


@dataclass(frozen=True)
class SpectralNorm(Constraint):
    """Every weight matrix divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    As a network's own `spectral_norm=True`, by the same code (`lit_gen.networks.spectral`), for any network.

    Args:
        n_power_iterations: iterations a pass.

    Raises:
        ValueError: for less than one iteration.
    """

    n_power_iterations: int = 1

    def __post_init__(self) -> None:
        if self.n_power_iterations < 1:
            raise ValueError(f"n_power_iterations={self.n_power_iterations}: SpectralNorm needs at least 1")

    def prepare(self, network: nn.Module) -> None:
        """Parametrise the weights of all linear and convolution layers.

        Raises:
            ValueError: for layers that are normalised already, or zero.
        """
        add_spectral_norm(network, self.n_power_iterations)

    def after_step(self, network: nn.Module) -> None:
        """Nothing: the parametrisation holds by itself."""
