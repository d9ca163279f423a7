"""Priors p(z) of latent variable models, and the way from normal noise to their samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


class Prior(nn.Module, ABC):
    """p(z) on vectors z of `latent_dim`.

    Args:
        latent_dim: D.
        image_shape: of what the inference network takes, `(C, H, W)` or `(D,)`.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...]):
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = tuple(image_shape)

    @abstractmethod
    def density(self, encode: Encode) -> Callable[[Tensor], Tensor] | None:
        """log p(z) as a function of z `(*, D)` that returns nats `(*)`; None for N(0, I), whose KLs are closed form.

        Args:
            encode: the inference network, for the prior that is made of posteriors.
        """

    @abstractmethod
    def transform(self, noise: Tensor, temperature: float, encode: Encode) -> Tensor:
        """Turn N(0, I) into samples of p(z), so that a seed fixes them.

        Args:
            noise: `(N, D)`.
            temperature: factor on the standard deviations, 1 for p(z) itself.
            encode: the inference network.
        """


class StandardNormal(Prior):
    """N(0, I)."""

    def density(self, encode: Encode) -> None:
        """None: the objectives know it."""

    def transform(self, noise: Tensor, temperature: float, encode: Encode) -> Tensor:
        """The noise, scaled."""
        return temperature * noise
