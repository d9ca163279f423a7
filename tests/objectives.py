"""Every adversarial loss and every penalty, one line a class, and critics for the penalties to look at."""

import math

import torch
from torch import nn

from lit_gen.losses import (
    DRAGAN,
    R1,
    R1R2,
    R2,
    FiniteDifference,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)
from lit_gen.networks import ResNetDiscriminator

LOSSES = [
    NonSaturating(),
    Minimax(),
    LeastSquares(),
    Hinge(),
    Wasserstein(),
    RelativisticPairing(),
    RelativisticAverage(),
]
PENALTIES = [
    None,
    GradientPenalty(),
    R1(),
    R2(),
    R1R2(),
    DRAGAN(),
    FiniteDifference(),
]


def batches(*shape, dtype=torch.float64, n=5, penalty=None):
    """Data, samples and the uniform numbers that `penalty` takes, by default one a sample."""
    generator = torch.Generator().manual_seed(1)
    real, fake = (torch.randn(n, *shape, dtype=dtype, generator=generator) for _ in range(2))
    epsilon_shape = penalty.epsilon_shape(shape) if penalty else ()
    return real, fake, torch.rand(n, *epsilon_shape, dtype=dtype, generator=generator)


class Smooth(nn.Module):
    """A critic with gradients and curvature everywhere: sum over hidden units of a tanh of a linear map."""

    def __init__(self, *shape, width=6):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        features = math.prod(shape)
        self.a = nn.Parameter(torch.randn(features, width, dtype=torch.float64, generator=generator))
        self.b = nn.Parameter(torch.randn(width, dtype=torch.float64, generator=generator))

    def forward(self, x):
        return torch.tanh(x.flatten(1) @ self.a) @ self.b


def conv_critic():
    """A critic of images (3, 32, 32) with convolutions and layer norm."""
    torch.manual_seed(0)
    return ResNetDiscriminator((3, 32, 32), width=16)


def gradient_of(penalty, critic, *arguments):
    """The penalty, and its gradient in the critic's parameters as one vector."""
    critic.zero_grad()
    value = penalty(critic, *arguments)
    value.backward()
    return value, torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None])
