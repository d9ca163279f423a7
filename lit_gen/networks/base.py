"""Narrow bases of the networks: what a module may ask of them, and what `--help` lists under each name."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """z `(N, latent_dim)` to images `(N, C, H, W)` in [-1, 1], or points `(N, D)`.

    Raises:
        ValueError: for an `image_shape` that is neither `(C, H, W)` nor `(D,)`, or no latent dimension.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int):
        super().__init__()
        self.image_shape = _checked_shape(self, "image_shape", image_shape)
        self.latent_dim = _checked_latent_dim(self, latent_dim)

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Generate one image or point a latent."""


class Discriminator(nn.Module, ABC):
    """Images `(N, C, H, W)`, or points `(N, D)`, to raw scores `(N,)`.

    Attributes:
        classifies: whether `classify(x)` gives scores `(N,)` and class scores `(N, num_classes)`.

    Raises:
        ValueError: for an `image_shape` that is neither `(C, H, W)` nor `(D,)`.
    """

    classifies: bool = False

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__()
        self.image_shape = _checked_shape(self, "image_shape", image_shape)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Score each sample, high for data."""

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `(N,)` and class scores `(N, num_classes)`, by one pass, of a discriminator that classifies."""
        raise ValueError(f"{type(self).__name__} doesn't classify; only a conditional discriminator can")


class Encoder(nn.Module, ABC):
    """Images `(N, C, H, W)`, or points `(N, D)`, to mean and log σ of q(z | x), each `(N, latent_dim)`.

    log σ is float32 or better and has passed `lit_gen.distributions.bound_log_scale`.

    Raises:
        ValueError: for an `image_shape` that is neither `(C, H, W)` nor `(D,)`, or no latent dimension.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int):
        super().__init__()
        self.image_shape = _checked_shape(self, "image_shape", image_shape)
        self.latent_dim = _checked_latent_dim(self, latent_dim)

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log σ."""


class Decoder(nn.Module, ABC):
    """z `(N, latent_dim)` to the parameters of a likelihood, `(N, *output_shape)`: a linear output.

    Raises:
        ValueError: for an `output_shape` that is neither `(C, H, W)` nor `(D,)`, or no latent dimension.
    """

    def __init__(self, output_shape: tuple[int, ...], latent_dim: int):
        super().__init__()
        self.output_shape = _checked_shape(self, "output_shape", output_shape)
        self.latent_dim = _checked_latent_dim(self, latent_dim)

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Return the parameters of p(x | z)."""


def _checked_shape(network: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ValueError(f"{name}={tuple(shape)}: {type(network).__name__} needs (C, H, W) or (D,), all at least 1")
    return tuple(shape)


def _checked_latent_dim(network: nn.Module, latent_dim: int) -> int:
    if latent_dim < 1:
        raise ValueError(f"latent_dim={latent_dim}: {type(network).__name__} needs at least 1")
    return latent_dim
