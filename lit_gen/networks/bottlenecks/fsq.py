"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lit_gen.networks.bottlenecks.base import Code, Quantizer
from lit_gen.precision import float32_or_better

LARGEST = 2**31  # codes
MOST_LEVELS = 256  # beyond 1,000 the bounded values would round to a level too many
EDGE = 1e-3  # how far the bounded values reach beyond the outer levels


class FSQ(Quantizer):
    """Each channel rounded to one of a few levels; the codes are all their combinations. No loss, nothing to collapse.

    f(h) = tanh(h + s) (L − 1)(1 + 10⁻³)/2 − o with o = ½ for an even number L of levels, else 0, and s such that
    f(0) = 0; the latent is round(f(h)) / ⌊L/2⌋, with the gradient of f(h) / ⌊L/2⌋ (appendix A). Odd levels run from −1
    to 1, even ones from −1 to 1 − 2/L.

    The code's number is Σ_i (⌊L_i/2⌋ + round(f(h_i))) ∏_{j<i} L_j, in float32 and int64 in any mixed precision.

    Args:
        image_shape: `(C, H, W)`.
        levels: L of each channel, e.g. 8, 5, 5, 5 for 1,000 codes (table 1 of the paper has more).

    Raises:
        ValueError: for no levels, fewer than 2 or more than 256 of a channel, or more than 2³¹ codes.
    """

    def __init__(self, image_shape: tuple[int, ...], levels: tuple[int, ...] = (8, 5, 5, 5)):
        super().__init__(image_shape)
        if not levels or min(levels) < 2 or max(levels) > MOST_LEVELS or math.prod(levels) > LARGEST:
            raise ValueError(
                f"levels={list(levels)}: FSQ needs 2 to {MOST_LEVELS} for each channel, at most 2^31 codes"
            )
        self.levels, self.codes = tuple(levels), math.prod(levels)
        self.channels = self.encoded_channels = len(levels)

    @float32_or_better
    def bound(self, encoded: Tensor) -> Tensor:
        """f(h), `(N, channels, h, w)`, whose nearest whole numbers are the levels."""
        reach = [(level - 1) * (1 + EDGE) / 2 for level in self.levels]
        offset = [0.5 if level % 2 == 0 else 0.0 for level in self.levels]
        shift = [math.atanh(o / r) for o, r in zip(offset, reach, strict=True)]
        r, o, s = (_per_channel(values, encoded) for values in (reach, offset, shift))
        return torch.tanh(encoded + s) * r - o

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
