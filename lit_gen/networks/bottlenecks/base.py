"""The narrow base of an autoencoder's bottlenecks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Code:
    """What a bottleneck makes of an encoder's maps.

    Args:
        latents: What the decoder takes, ``(N, channels, h, w)``, float32 or better, with the encoder's gradient.
        loss: The bottleneck's term of the loss, a mean over samples.
        bits: What an image's latents take, a mean over images: of a quantised one as if all codes were as frequent,
            of a Gaussian one its divergence from N(0, I).
        values: Parts of the loss, to be logged.
    """

    latents: Tensor
    loss: Tensor
    bits: Tensor
    values: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(nn.Module, ABC):
    """Between an autoencoder's encoder and decoder: what latents are, and what they cost.

    Whatever it computes is float32 or better, in mixed precision too.

    Attributes:
        channels: of the latents.
        encoded_channels: of the maps that it takes from the encoder.
        learns: whether `learn` wants to be told the maps of each training batch.
        batch_mean: within an update, the mean over all its parts and processes, given by the module that trains it.

    Args:
        image_shape: ``(C, H, W)`` of the images.
    """

    channels: int
    encoded_channels: int
    learns: bool = False

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.batch_mean: Callable[[Tensor], Tensor] | None = None

    @abstractmethod
    def forward(self, encoded: Tensor, noise: Tensor | None = None) -> Code:
        """Latents of the encoder's maps ``(N, encoded_channels, h, w)``, and their part of the loss.

        Args:
            encoded: The maps.
            noise: N(0, 1) of ``(N, *noise_shape(h, w))``; None for the latents in their middle.
        """

    def noise_shape(self, height: int, width: int) -> tuple[int, ...] | None:
        """Shape of the normal numbers that the latents of one image take in training; None for none."""
        return None

    def learn(self, encoded: Tensor, generator: torch.Generator) -> None:
        """Follow the maps of a whole training batch, after its update; the same on all processes.

        Args:
            encoded: Maps of all parts and processes, in the order of the batch.
            generator: Random numbers, the same everywhere.
        """


class Quantizer(Bottleneck):
    """Latents that are one of finitely many codes at each position.

    Attributes:
        codes: Their number.
    """

    codes: int

    @abstractmethod
    def indices(self, encoded: Tensor) -> Tensor:
        """The codes' numbers, int64 ``(N, h, w)`` from 0 to ``codes`` − 1, of the maps ``(N, encoded_channels, h, w)``.

        Of maps alone: quantising latents again may give other codes.
        """

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """The latents ``(N, channels, h, w)``, float32 or better, of the numbers ``(N, h, w)``."""

    def quantised(self, value: Tensor, x: Tensor, loss: Tensor, values: dict[str, Tensor]) -> Code:
        """The latents ``value`` with the gradient of x."""
        bits = value.shape[-2] * value.shape[-1] * math.log2(self.codes)
        return Code(straight_through(value, x), loss, torch.full_like(loss, bits), values)


def straight_through(value: Tensor, x: Tensor) -> Tensor:
    """``value`` exactly, with the gradient of x (Bengio et al. 2013, arXiv:1308.3432)."""
    return _StraightThrough.apply(value, x)


class _StraightThrough(torch.autograd.Function):
    """x + (value − x) would be off by rounding."""

    @staticmethod
    def forward(ctx: object, value: Tensor, x: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient
