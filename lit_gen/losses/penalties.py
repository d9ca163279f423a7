"""Penalties on the discriminator's gradient in its input, added to its loss before the backward pass."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_gen.kernels import DirectDoubleBackward, differentiable_attention, guard_convolutions
from lit_gen.networks.layers import batch_norm_layers, couples_batch
from lit_gen.precision import float32_or_better

# Inside the square root: the norm's derivative stays finite at zero gradient, where the double backward would
# give NaN. So small that no norm above 1e-6 is changed in float32, and a norm of 1 by 5e-13 in float64.
EPS = 1e-12


@dataclass(frozen=True)
class Penalty(ABC):
    """A penalty on ∇D, sample by sample: the norm is over all of a sample's dimensions, whatever its shape.

    The discriminator's pass runs in the ambient precision, but in float32 under float16 autocast, where input
    gradients leave the range; norms, squares and means are float32 with autocast off, float64 if the network
    is.

    Where a random view shows D the images augmented, a penalty `of_images` takes its gradient in the images themselves,
    through the view, any other one in what D sees.

    Every penalty also takes these (the module that calls it heeds them):

    Args:
        weight: the penalty's factor, at least 0.
        interval: k, computes the penalty at every k-th discriminator update only, the first among them, times k:
            lazy regularisation (Karras et al. 2020, arXiv:1912.04958, appendix B).
        correct_optimizer: gives Adam lr c and betas to the power of c, c = k/(k + 1), as there, where the penalty
            has a step of its own, k + 1 in all. Here it shares the loss's step, so this only reproduces their Adam.
        direct: take the second derivatives as `lit_gen.kernels.DirectDoubleBackward` writes them out, which is faster
            and the same up to rounding; false for PyTorch's own.

    Raises:
        ValueError: for a weight that is negative or not finite, an interval below 1, or a correction without one.
    """

    of_images: ClassVar[bool] = False
    weight: float = 10.0
    interval: int = field(default=1, kw_only=True)
    correct_optimizer: bool = field(default=False, kw_only=True)
    direct: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight={self.weight}: {type(self).__name__} needs a finite number, at least 0")
        if self.interval < 1:
            raise ValueError(f"interval={self.interval}: {type(self).__name__} needs at least 1 update")
        if self.correct_optimizer and self.interval == 1:
            raise ValueError(
                f"correct_optimizer=True, interval=1: {type(self).__name__} corrects for an interval above 1"
            )

    def epsilon_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the uniform numbers that each sample of `sample_shape` takes: by default one, `()`."""
        return ()

    @abstractmethod
    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """Return the weighted penalty, a scalar that carries the gradient to the discriminator's parameters.

        Args:
            discriminator: raw scores of a batch. A `nn.Module` is given points in its parameters' precision. One that
                has `halves`, D of real and D of generated images, is itself D of both in one batch.
            real: data, `(N, *)`.
            fake: generated samples, `(N, *)`; no gradient goes to them.
            epsilon: uniform in [0, 1), `(N, *epsilon_shape)`; a penalty without randomness ignores it.
        """

    def check(self, discriminator: nn.Module) -> None:
        """Refuse batch norm, which couples the samples of a batch so that ∇D has no meaning for one of them.

        Every activation behind it depends on the whole batch. Features that compare the batch's samples in front
        of the score are let through, as in their authors' own training, with WGAN-GP (arXiv:1710.10196) and R₁
        (arXiv:1912.04958): ∇D is then that of the batch's sum of scores, and the penalty's points are a batch.

        Raises:
            ValueError: naming the first such layer.
        """
        if layers := batch_norm_layers(discriminator):
            raise ValueError(
                f"{type(self).__name__} needs scores that depend on one sample each, but layer {layers[0]!r} "
                f"of {type(discriminator).__name__} is batch norm; use norm='none', 'layer' or, for images, 'instance'"
            )


@dataclass(frozen=True)
class GradientPenalty(Penalty):
    """WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028): λ E(‖∇D(x̂)‖ − t)² between data and samples.

    The points are x̂ = εx + (1 − ε)G(z) with one ε ~ U[0, 1) a sample.

    Args:
        weight: λ.
        target: t, the norm wanted.
        one_sided: penalise only norms above the target, max(0, ‖∇D‖ − t)²: WGAN-LP (Petzka et al. 2018,
            arXiv:1709.08894, equation 7), as a 1-Lipschitz critic need not have slope 1 everywhere.

    Raises:
        ValueError: for a weight or target that is negative or not finite.
    """

    target: float = 1.0
    one_sided: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.target < math.inf:
            raise ValueError(f"target={self.target}: GradientPenalty needs a finite number, at least 0")

    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """λ times the mean squared excess of the gradient's norm between data and samples.

        Raises:
            ValueError: for `real`, `fake` and `epsilon` that don't pair sample by sample.
        """
        points = _interpolate(real, fake, epsilon).to(real.dtype)
        norms = _norms(discriminator, points, self.direct)
        excess = torch.relu(norms - self.target) if self.one_sided else norms - self.target
        return self.weight * excess.square().mean()


@dataclass(frozen=True)
class R1(Penalty):
    """R₁ of Mescheder et al. 2018 (arXiv:1801.04406): γ/2 · E‖∇D(x)‖² over the data.

    Args:
        weight: γ; the factor ½ comes on top, as in the paper.
    """

    of_images: ClassVar[bool] = True

    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """γ/2 times the mean squared gradient norm at the data."""
        return self.weight / 2 * _squared_norms(halves_of(discriminator)[0], real, self.direct).mean()


@dataclass(frozen=True)
class R2(Penalty):
    """R₂ of Mescheder et al. 2018 (arXiv:1801.04406): γ/2 · E‖∇D(G(z))‖² over the generated samples.

    Args:
        weight: γ; the factor ½ comes on top, as in the paper.
    """

    of_images: ClassVar[bool] = True

    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """γ/2 times the mean squared gradient norm at the samples."""
        return self.weight / 2 * _squared_norms(halves_of(discriminator)[1], fake, self.direct).mean()


@dataclass(frozen=True)
class R1R2(Penalty):
    """R₁ and R₂ together, γ/2 · (E‖∇D(x)‖² + E‖∇D(G(z))‖²), by one pass over both.

    A discriminator that compares the samples of a batch sees real and generated ones apart, in two passes.

    R3GAN (Huang et al. 2025, arXiv:2501.05441) needs both, with `RelativisticPairing`, to converge.

    Args:
        weight: γ, of both.
    """

    of_images: ClassVar[bool] = True

    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """γ/2 times the sum of the mean squared gradient norms at the data and at the samples."""
        if isinstance(discriminator, nn.Module) and couples_batch(discriminator):
            halves = zip(halves_of(discriminator), (real, fake), strict=True)
            of_real, of_fake = (_squared_norms(half, points, self.direct) for half, points in halves)
        else:
            squares = _squared_norms(discriminator, torch.cat([real, fake.to(real.dtype)]), self.direct)
            of_real, of_fake = squares.tensor_split([len(real)])
        return self.weight / 2 * (of_real.mean() + of_fake.mean())


@dataclass(frozen=True)
class DRAGAN(Penalty):
    """DRAGAN (Kodali et al. 2017, arXiv:1705.07215): λ E(‖∇D(x + δ)‖ − k)² around the data, δ ~ N(0, c I).

    The normal δ is the quantile of the uniform numbers that this penalty declares, one for each entry of x.

    Args:
        weight: λ.
        target: k, the norm wanted.
        variance: c, 10 in the paper. For images in [-1, 1] less keeps the points near the data.

    Raises:
        ValueError: for a weight, target or variance that is negative or not finite.
    """

    of_images: ClassVar[bool] = True
    target: float = 1.0
    variance: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in {"target": self.target, "variance": self.variance}.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}: DRAGAN needs a finite number, at least 0")

    def epsilon_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """One uniform number for each entry of a sample."""
        return sample_shape

    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """λ times the mean squared distance of the gradient's norm from k at perturbed data.

        Raises:
            ValueError: for an `epsilon` of another shape than `real`.
        """
        if epsilon.shape != real.shape:
            raise ValueError(f"epsilon {tuple(epsilon.shape)}: DRAGAN needs the shape of real, {tuple(real.shape)}")
        points = _perturb(real, epsilon, math.sqrt(self.variance)).to(real.dtype)
        return self.weight * (_norms(halves_of(discriminator)[0], points, self.direct) - self.target).square().mean()


def halves_of(discriminator: Callable[[Tensor], Tensor]) -> tuple[Callable[[Tensor], Tensor], ...]:
    """D as it sees real, and generated, images: a random view transforms each of them by other numbers."""
    return getattr(discriminator, "halves", (discriminator, discriminator))


def normal(epsilon: Tensor) -> Tensor:
    """Normal numbers: the quantiles of uniform ones kept off 0 and 1, where they are infinite."""
    return torch.special.ndtri(epsilon.clamp(2**-25, 1 - 2**-24))


@float32_or_better
def _perturb(real: Tensor, epsilon: Tensor, scale: float) -> Tensor:
    """x + δ, δ normal."""
    return real + scale * normal(epsilon)


@float32_or_better
def _interpolate(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """x̂ = εx + (1 − ε)G(z), one ε a sample."""
    if real.shape != fake.shape or epsilon.shape != real.shape[:1]:
        raise ValueError(
            f"real {tuple(real.shape)}, fake {tuple(fake.shape)}, epsilon {tuple(epsilon.shape)}: "
            "GradientPenalty pairs them one by one, and needs batches of one shape (N, *) and an epsilon (N,)"
        )
    return torch.lerp(fake, real, epsilon.reshape(-1, *[1] * (real.ndim - 1)))


def _norms(discriminator: Callable[[Tensor], Tensor], points: Tensor, direct: bool) -> Tensor:
    return torch.sqrt(_squared_norms(discriminator, points, direct) + EPS)


def _squared_norms(discriminator: Callable[[Tensor], Tensor], points: Tensor, direct: bool) -> Tensor:
    """‖∇D(x)‖² for every sample, `(N,)`, with a graph to the parameters."""
    device = points.device.type
    fp16 = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    dtype = torch.float32 if fp16 else points.dtype
    if isinstance(discriminator, nn.Module):
        dtype = next((parameter.dtype for parameter in discriminator.parameters()), dtype)
    points = points.detach().to(dtype).requires_grad_()
    guard_convolutions()
    with (
        torch.enable_grad(),
        differentiable_attention(),
        torch.compiler.set_stance("force_eager"),  # compiled networks have no double backward
        torch.autocast(device, enabled=False) if fp16 else nullcontext(),
    ):
        if direct:
            with DirectDoubleBackward() as mode:
                gradient = mode.input_gradient(discriminator(points).sum(), points)
        else:
            (gradient,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    return _sum_of_squares(gradient)


@float32_or_better
def _sum_of_squares(gradient: Tensor) -> Tensor:
    return gradient.reshape(len(gradient), -1).square().sum(1)
