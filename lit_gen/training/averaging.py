"""Exponential moving average of weights."""

import copy

import torch
from torch import Tensor, nn


class ExponentialMovingAverage(nn.Module):
    """A float32 copy of a network whose weights follow the original's with a half-life in images.

    After each update that showed ``images`` images the average is
    θ̄ ← θ + 2^(−images / half_life) (θ̄ − θ), as in Karras et al. (2020, arXiv:2006.06676).
    Buffers (batch-norm statistics) are copied, not averaged. The copy stays in eval mode,
    and in float32 unless it is made float64 with all else (64-true).

    With ``ramp_up`` the half-life is at most that share of the images seen so far, there 0.05: the average of a
    young run forgets its first weights soon.
    """

    def __init__(self, network: nn.Module, half_life: float, ramp_up: float | None = None) -> None:
        super().__init__()
        if ramp_up is not None and not ramp_up > 0:
            raise ValueError(f"ema_ramp_up={ramp_up}: a positive share of the images seen, or null for none")
        self.half_life, self.ramp_up = half_life, ramp_up
        self.network = copy.deepcopy(network).float().requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "ExponentialMovingAverage":
        """The average is only ever evaluated."""
        return super().train(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The averaged network's output."""
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, network: nn.Module, images: int, images_seen: int = 0) -> None:
        """Follow ``network`` after an update that used up ``images`` images, ``images_seen`` since the start."""
        half_life = self.half_life if self.ramp_up is None else min(self.half_life, self.ramp_up * images_seen)
        weight = 1.0 - 0.5 ** (images / half_life) if half_life > 0 else 1.0
        (averages, kept), (weights, buffers) = _tensors(self.network), _tensors(network)
        weights = [p.to(average.dtype) for p, average in zip(weights, averages, strict=True)]
        torch._foreach_lerp_(averages, weights, weight)
        for average, buffer in zip(kept, buffers, strict=True):
            average.copy_(buffer)


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and buffers, each once: by one walk, as several cost a small network more than the average does."""
    layers = list(network.modules())
    parameters = {id(p): p for layer in layers for p in layer._parameters.values() if p is not None}
    buffers = {id(b): b for layer in layers for b in layer._buffers.values() if b is not None}
    return list(parameters.values()), list(buffers.values())
