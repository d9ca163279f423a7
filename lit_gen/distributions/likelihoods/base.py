"""The base of all likelihoods, and the way from images to the 256 levels of an 8-bit pixel and back."""

import math
from abc import ABC, abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lit_gen.precision import float32_or_better

LEVELS = 256  # of an 8-bit pixel
BIN_WIDTH = 2 / 255  # of 8-bit pixels scaled to [-1, 1]

Nats = TypeVar("Nats", float, Tensor)


class Likelihood(nn.Module, ABC):
    """p(x | z) given by the decoder's output.

    Images are `(*, C, H, W)` in [-1, 1], points `(*, D)`; parameters are `(*, *parameter_shape)`. Leading
    dimensions broadcast, so K samples of z a datum `(K, N, ...)` meet the data `(N, ...)` without a copy.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.

    Attributes:
        discrete: whether `log_prob` is the logarithm of a probability, not of a density.
        protocol: what a score's name must say, as likelihoods of differently made x don't compare.
        batch_mean: in training, takes a mean over the samples at hand to that over the whole batch, of which they are
            the part `batch_mean.share`; set by the module that trains, else None.
    """

    discrete: bool = False
    protocol: str = ""
    batch_mean: Any = None

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__()
        self.image_shape = tuple(image_shape)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Shape that the decoder emits for one datum."""
        return self.image_shape

    @property
    def log_bin_width(self) -> float | None:
        """Log of the width, in x's units, over which one value of the data is spread: 0 where x is discrete.

        None where x is no quantised value: points, and grey values that are not dequantised.
        """
        return 0.0 if self.discrete else None

    def bits_per_dim(self, nats: Nats) -> Nats:
        """Negative log-likelihoods (or bounds) of data in nats, as bits a pixel value.

        A density of dequantised pixels is integrated over the bin: −log₂ P = (nats − D log(bin width)) / (D ln 2)
        bounds the bits of the 8-bit value (Theis et al. 2016, arXiv:1511.01844, section 3.1).

        Raises:
            ValueError: where `log_bin_width` is None.
        """
        if self.log_bin_width is None:
            raise ValueError(
                f"bits per dimension of a {type(self).__name__} of image_shape={self.image_shape}: "
                "only binary, 8-bit and dequantised pixels have them"
            )
        dimensions = math.prod(self.image_shape)
        return (nats - dimensions * self.log_bin_width) / (dimensions * math.log(2))

    @property
    def needs_noise(self) -> bool:
        """Whether `observe` reads its noise; where not, training doesn't draw it."""
        return True

    @abstractmethod
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """Turn images into the random variable x that this likelihood models.

        Args:
            images: in [-1, 1], or points.
            noise: uniform in [0, 1), of the images' shape.
        """

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over a datum's dimensions: `(N,)`, or `(K, N)` for K samples of z."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """E[x | z] as images in [-1, 1], or points."""

    @abstractmethod
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Draw x ~ p(x | z), by inversion, as images in [-1, 1], or points.

        Args:
            params: the decoder's output.
            noise: uniform in [0, 1), of the images' shape.
        """

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The parameters, the same for all z, under which data of this mean of x are likeliest.

        Args:
            mean: of `observe`'s x over the data, `(*image_shape)`.

        Raises:
            ValueError: for a likelihood whose parameters a mean doesn't tell.
        """
        raise ValueError(
            f"likelihood={type(self).__name__}: the mean of the data doesn't tell its parameters; start_at_mean takes "
            "a Bernoulli"
        )

    def unbind(self) -> None:
        """Take x as it is: real numbers without bounds, such as latents, and not pixels in [-1, 1].

        Raises:
            ValueError: for a likelihood of pixels.
        """
        raise ValueError(
            f"likelihood={type(self).__name__}: of pixels in [-1, 1], and these data have no bounds; take a Gaussian"
        )

    def _observes_as(self, kind: type) -> bool:
        """Whether `observe` is that of a class, not of a subclass which may read noise where the class doesn't."""
        return type(self).observe is vars(kind)["observe"]

    def _broadcast(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The same images and parameters with all leading dimensions of either, as views."""
        leading = torch.broadcast_shapes(x.shape[:-3], params.shape[:-3])
        return x.expand(*leading, *x.shape[-3:]), params.expand(*leading, *params.shape[-3:])

    def _sum(self, log_probs: Tensor) -> Tensor:
        return log_probs.flatten(-len(self.image_shape)).sum(-1)

    def _require_pixels(self) -> None:
        if len(self.image_shape) != 3:
            raise ValueError(
                f"image_shape={self.image_shape}: {type(self).__name__} models pixels (C, H, W); "
                "use Gaussian for points"
            )


class EightBitLikelihood(Likelihood):
    """Of 8-bit pixels: x is a level 0 ... 255.

    Args:
        image_shape: `(C, H, W)`.

    Raises:
        ValueError: for points.
    """

    discrete = True

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__(image_shape)
        self._require_pixels()

    @property
    def needs_noise(self) -> bool:
        """No, unless a subclass observes otherwise."""
        return not self._observes_as(EightBitLikelihood)

    @float32_or_better
    def observe(self, images: Tensor, noise: Tensor) -> Tensor:
        """Levels 0 ... 255."""
        return to_levels(images)


def to_levels(images: Tensor) -> Tensor:
    """The levels 0 ... 255, as floating-point integers, of images in [-1, 1]."""
    return ((images + 1) * 127.5).round().clamp(0, LEVELS - 1)


def to_images(levels: Tensor) -> Tensor:
    """Images in [-1, 1] of levels 0 ... 255, which need not be whole."""
    return levels / 127.5 - 1


def inside(uniform: Tensor) -> Tensor:
    """Uniform noise without its ends, where quantile functions are infinite.

    torch.rand's float32 lie on multiples of 2⁻²⁴, zero included: half a step keeps them apart from 0.
    """
    return torch.clamp(uniform, 2**-25, 1 - 2**-24)
