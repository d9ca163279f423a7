"""Exponential moving average of weights."""

import copy

import torch
from torch import Tensor, nn


class ExponentialMovingAverage(nn.Module):
    """A float32 copy of a network whose weights follow the original's with a half-life in images.

    After each update that showed ``images`` images the average is
    θ̄ ← θ + 2^(−images / half_life) (θ̄ − θ), as in Karras et al. (2020, arXiv:2006.06676).
    Buffers (batch-norm statistics) are copied, not averaged. The copy stays in eval mode.
    """

    def __init__(self, network: nn.Module, half_life: float) -> None:
        super().__init__()
        self.half_life = half_life
        self.network = copy.deepcopy(network).float().requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "ExponentialMovingAverage":
        """The average is only ever evaluated."""
        return super().train(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The averaged network's output."""
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, network: nn.Module, images: int) -> None:
        """Follow ``network`` after an update that used up ``images`` images."""
        weight = 1.0 - 0.5 ** (images / self.half_life)
        averages: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averages, [p.float() for p in network.parameters()], weight)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
