"""R₁ + R₂ from differences of scores, for discriminators whose second derivatives are out of reach."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.utils.weak import WeakIdKeyDictionary

from lit_gen.kernels import guard_convolutions
from lit_gen.losses.penalties import Penalty, halves_of, normal
from lit_gen.networks.checkpointing import Checkpointed
from lit_gen.networks.layers import couples_batch
from lit_gen.precision import float32_or_better

Scorer = Callable[[Tensor], Tensor]

SHORT = (torch.bfloat16, torch.float16)
TOLERATED = 0.1  # rounding's share of the squared slope
FINEST = 1e-5  # sigma that float32 holds beside pixels of [-1, 1]: some hundred of its steps
# Calls by the first weight of a discriminator; none once its user has been warned.
_CALLS: WeakIdKeyDictionary = WeakIdKeyDictionary()


@dataclass(frozen=True)
class FiniteDifference(Penalty):
    """R₁ + R₂ estimated, γ/(2σ²) · (E(D(x + σn) − D(x))² + E(D(G(z) + σn′) − D(G(z)))²), n and n′ ~ N(0, I).

    The approximated R₁ of APT (Lin et al. 2025, arXiv:2501.08316), there λE(D(x + σn) − D(x))² with λ = 100 and
    σ = 0.01 for images, 0.1 for videos: λ = γ/(2σ²). With R₂ and this weight it is that of GAT's code (Hyun et al.
    2025, arXiv:2509.24935). As σ → 0 its expectation is that of `R1R2`; for D with the Hessian H at x, each square
    is too large by σ²(½‖H‖²_F + ¼(tr H)²) and terms of third derivatives. One n a sample makes it noisy: its variance
    is twice its squared value.

    It takes first derivatives alone, so compiled networks and attention that has no second derivative take part as they
    are; for convolutional networks the exact `R1R2` is faster and right. The difference loses what scores lose to
    rounding, times 1/σ: in bfloat16 and with σ = 0.01 that is more than the slope. D therefore runs in float32,
    or in the ambient precision on request, where the loss is measured at calls 1, 2, 4, 8, … and, above a tenth of the
    estimate, told in one warning. TF32, as GPUs have it for convolutions unless
    `torch.backends.cudnn.allow_tf32 = False`, is not looked for.

    Args:
        weight: γ, of both.
        sigma: σ, in units of x; images are in [-1, 1].
        full_precision: take the scores in float32; false for the ambient precision.

    Raises:
        ValueError: for a weight that is negative or not finite, or a sigma that is not positive and finite; called, for
            a sigma below 1e-5 and images that aren't float64.
    """

    of_images: ClassVar[bool] = True
    sigma: float = 0.01
    full_precision: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma}: FiniteDifference needs a finite number above 0")

    def epsilon_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Two uniform numbers for each entry of a sample, for real and generated ones."""
        return 2, *sample_shape

    def __call__(self, discriminator: Scorer, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
        """γ/2 times the sum of the mean squared slopes, along normal directions, at the data and at the samples.

        Raises:
            ValueError: for `real`, `fake` and `epsilon` that don't pair sample by sample.
        """
        if real.shape != fake.shape or epsilon.shape != (len(real), 2, *real.shape[1:]):
            raise ValueError(
                f"real {tuple(real.shape)}, fake {tuple(fake.shape)}, epsilon {tuple(epsilon.shape)}: FiniteDifference "
                "pairs them one by one, and needs batches of one shape (N, *) and an epsilon (N, 2, *)"
            )
        if self.sigma < FINEST and real.dtype != torch.float64:
            raise ValueError(
                f"sigma={self.sigma}: FiniteDifference needs {FINEST:g} or more, but for images in float64"
            )
        points = [(real, epsilon[:, 0]), (fake.detach(), epsilon[:, 1])]
        scorers: tuple[Scorer, ...] = (discriminator,)
        if isinstance(discriminator, nn.Module) and couples_batch(discriminator):
            scorers = halves_of(discriminator)
        else:
            points = [(torch.cat([real, fake.detach().to(real.dtype)]), epsilon.transpose(0, 1).flatten(0, 1))]
        squares = [self._squared_slopes(*each) for each in zip(scorers, points, strict=True)]
        return self.weight / 2 * torch.cat(squares).sum() / len(real)

    def check(self, discriminator: nn.Module) -> None:
        """Refuse batch norm, as every penalty does, and dropout, by which D differs between the two scores.

        Raises:
            ValueError: naming the first such layer; for spectral norm in blocks with checkpoints.
        """
        super().check(discriminator)
        for name, layer in discriminator.named_modules():
            if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
                raise ValueError(
                    f"FiniteDifference compares two scores of one D, but layer {name!r} of "
                    f"{type(discriminator).__name__} is dropout, which draws anew for each; use dropout=0 or R1R2"
                )

        saving = any(isinstance(layer, Checkpointed) and layer.checkpointing for layer in discriminator.modules())
        if saving and any(map(parametrize.is_parametrized, discriminator.modules())):
            raise ValueError(
                f"checkpointing=True: FiniteDifference takes both scores by one spectral norm, which a checkpointed "
                f"{type(discriminator).__name__} would make anew; use checkpointing=False or R1R2"
            )

    def _squared_slopes(self, discriminator: Scorer, points: tuple[Tensor, Tensor]) -> Tensor:
        """((D(x + σn) − D(x))/σ)² of every sample, `(N,)`."""
        x, moved = ends(*points, self.sigma)
        device = x.device.type
        ambient = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        in_full = self.full_precision or ambient == torch.float16  # whose gradients leave the range
        weight = next(weights_of(discriminator), None)
        dtype = x.dtype if weight is None else weight.dtype
        guard_convolutions()
        with torch.autocast(device, dtype=ambient, enabled=not in_full and ambient != torch.float32):
            estimate = slopes(discriminator, x.to(dtype), moved.to(dtype), self.sigma)
        if weight is not None and due(weight, dtype if in_full else ambient):
            with torch.no_grad(), torch.autocast(device, enabled=False), torch.compiler.set_stance("force_eager"):
                self._warn(weight, estimate.detach(), slopes(in_float32(discriminator), x, moved, self.sigma))
        return estimate.square()

    def _warn(self, weight: Tensor, estimate: Tensor, exact: Tensor) -> None:
        rounding, signal = (estimate - exact).square().mean().item(), exact.square().mean().item()
        if rounding <= TOLERATED * signal or signal == 0:
            return
        _CALLS[weight] = None
        needed = self.sigma * math.sqrt(rounding / signal / TOLERATED)
        warnings.warn(
            f"FiniteDifference: with sigma={self.sigma} the rounding of D's 16-bit scores adds {rounding / signal:.2g} "
            f"times the squared slope to its estimate; use full_precision=True with weights in float32, "
            f"sigma={needed:.2g} or more, or the exact R1R2",
            stacklevel=4,
        )


@float32_or_better
def ends(x: Tensor, epsilon: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """x and x + σn, n normal: the quantile of the uniform numbers."""
    return x, x + sigma * normal(epsilon)


def slopes(discriminator: Scorer, x: Tensor, moved: Tensor, sigma: float) -> Tensor:
    """(D(x + σn) − D(x))/σ, patches summed, `(N,)`: two passes of one D, spectral norm's power iteration made once."""
    with parametrize.cached():
        return _difference(discriminator(moved), discriminator(x)) / sigma


@float32_or_better
def _difference(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).reshape(len(a), -1).sum(1)


def weights_of(discriminator: Scorer) -> Iterator[nn.Parameter]:
    """D's parameters, none of a plain function."""
    return iter(discriminator.parameters() if isinstance(discriminator, nn.Module) else ())


def due(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether rounding is to be measured at this call, for scores in this precision."""
    calls = _CALLS.setdefault(weight, 0) if {weight.dtype, dtype} & {*SHORT} else None
    if calls is None:
        return False
    _CALLS[weight] = calls + 1
    return (calls + 1) & calls == 0


def in_float32(discriminator: Scorer) -> Scorer:
    """D with copies of its weights and state, in float32."""
    assert isinstance(discriminator, nn.Module)
    state = itertools.chain(discriminator.named_parameters(), discriminator.named_buffers())
    copies = {name: t.float() if t.dtype in SHORT else t.clone() for name, t in state}
    return lambda x: functional_call(discriminator, copies, (x,))
