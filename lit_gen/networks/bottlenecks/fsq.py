"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.networks.bottlenecks.base import Code, Quantizer
from lit_gen.precision import float32_or_better

LARGEST = 2**31  # codes
MOST_LEVELS = 256  # beyond 1,000 the bounded values would round to a level too many
EDGE = 1e-3  # how far the bounded values reach beyond the outer levels
SPREAD = math.pi / math.sqrt(12)  # standard deviation of atanh(u), u uniform in (-1, 1)
LEAST = 1e-6  # variance of a direction, as a share of the largest


class FSQ(Quantizer):
    """Each channel rounded to one of a few levels; the codes are all their combinations. No loss, nothing to collapse.

    f(h) = tanh(h + s) (L − 1)(1 + 10⁻³)/2 − o with o = ½ for an even number L of levels, else 0, and s such that
    f(0) = 0; the latent is round(f(h)) / ⌊L/2⌋, with the gradient of f(h) / ⌊L/2⌋ (appendix A). Odd levels run from −1
    to 1, even ones from −1 to 1 − 2/L.

    Channels that go together leave most combinations unused, and nothing in the loss draws them apart. With ``whiten``
    f takes

        z = π/√12 Σ^(−1/2) (h − μ),

    uncorrelated and as wide as the levels are, with μ and Σ moving moments of the h of whole batches, constants in an
    update. (Not of the paper.)

    The code's number is Σ_i (⌊L_i/2⌋ + round(f(h_i))) ∏_{j<i} L_j, in float32 and int64 in any mixed precision.

    Args:
        image_shape: `(C, H, W)`.
        levels: L of each channel, e.g. 8, 5, 5, 5 for 1,000 codes (table 1 of the paper has more).
        whiten: Take the channels' scale and correlation away first, so that all codes are used.
        decay: Of μ and Σ, from a batch to the next.

    Raises:
        ValueError: for no levels, fewer than 2 or more than 256 of a channel, more than 2³¹ codes, or a decay outside
            [0, 1).
    """

    mean: Tensor
    covariance: Tensor
    whitening: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        levels: tuple[int, ...] = (8, 5, 5, 5),
        whiten: bool = False,
        decay: float = 0.9,
    ):
        super().__init__(image_shape)
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: FSQ needs a share in [0, 1)")
        if not levels or min(levels) < 2 or max(levels) > MOST_LEVELS or math.prod(levels) > LARGEST:
            raise ValueError(
                f"levels={list(levels)}: FSQ needs 2 to {MOST_LEVELS} for each channel, at most 2^31 codes"
            )
        self.levels, self.codes = tuple(levels), math.prod(levels)
        self.channels = self.encoded_channels = len(levels)
        self.learns, self.decay = whiten, decay
        if whiten:
            self.register_buffer("mean", torch.zeros(self.channels))
            self.register_buffer("covariance", torch.zeros(self.channels, self.channels))  # zero before the first batch
            # π/√12 Σ^(−1/2), of numbers: on a meta device torch.eye imports the compiler, which takes a second.
            unit = [[float(i == j) for j in range(self.channels)] for i in range(self.channels)]
            self.register_buffer("whitening", torch.tensor(unit))

    @float32_or_better
    def bound(self, encoded: Tensor) -> Tensor:
        """f(h), `(N, channels, h, w)`, whose nearest whole numbers are the levels."""
        reach = [(level - 1) * (1 + EDGE) / 2 for level in self.levels]
        offset = [0.5 if level % 2 == 0 else 0.0 for level in self.levels]
        shift = [math.atanh(o / r) for o, r in zip(offset, reach, strict=True)]
        r, o, s = (_per_channel(values, encoded) for values in (reach, offset, shift))
        return torch.tanh(self._whitened(encoded) + s) * r - o

    def _whitened(self, encoded: Tensor) -> Tensor:
        if not self.learns:
            return encoded
        matrix = self.whitening.to(encoded)
        return F.conv2d(encoded, matrix[:, :, None, None], -matrix @ self.mean.to(encoded))

    @torch.no_grad()
    @float32_or_better
    def learn(self, encoded: Tensor, generator: torch.Generator) -> None:
        """Let μ and Σ follow the batch, if they are kept."""
        if not self.learns:
            return
        vectors = encoded.movedim(1, -1).reshape(-1, self.channels).to(self.mean)
        decay = self.decay if self.covariance.any() else 0.0
        self.mean.lerp_(vectors.mean(0), 1 - decay)
        centred = vectors - self.mean
        self.covariance.lerp_(centred.T @ centred / len(vectors), 1 - decay)
        variances, directions = torch.linalg.eigh(self.covariance)
        scale = SPREAD * variances.clamp_min(LEAST * variances.max()).rsqrt()
        self.whitening.copy_(directions * scale @ directions.T)

    @float32_or_better
    def forward(self, encoded: Tensor, noise: Tensor | None = None) -> Code:
        """The rounded latents; no loss."""
        bounded = self.bound(encoded)
        half = _per_channel(self._halves, bounded)
        return self.quantised(bounded.round() / half, bounded / half, bounded.new_zeros(()), {})

    @torch.no_grad()
    @float32_or_better
    def indices(self, encoded: Tensor) -> Tensor:
        """Numbers int64 `(N, h, w)`."""
        digits = self.bound(encoded).round().long()
        return ((digits + _per_channel(self._halves, digits)) * _per_channel(self._places, digits)).sum(1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Latents `(N, channels, h, w)` of the numbers."""
        numbers = indices.unsqueeze(1)
        digits = numbers // _per_channel(self._places, numbers) % _per_channel(self.levels, numbers)
        half = _per_channel(self._halves, digits)
        return (digits - half).float() / half

    @property
    def _halves(self) -> list[int]:
        return [level // 2 for level in self.levels]

    @property
    def _places(self) -> list[int]:
        """∏_{j<i} L_j."""
        return [math.prod(self.levels[:i]) for i in range(self.channels)]


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
