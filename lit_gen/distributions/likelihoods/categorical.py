"""8-bit values by a softmax over all 256 levels."""

import torch
from torch import Tensor

from lit_gen.distributions.likelihoods.base import LEVELS, EightBitLikelihood, to_images
from lit_gen.precision import float32_or_better


class Categorical256(EightBitLikelihood):
    """Independent 8-bit values, each with 256 logits (PixelRNN, arXiv:1601.06759, section 3.4).

    It knows nothing of which levels are neighbours: 256 parameters a value, where `DiscretisedLogistic` has two.

    Args:
        image_shape: `(C, H, W)`.

    Raises:
        ValueError: for points.
    """

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """256 channels a channel, the levels of the first channel first."""
        channels, *size = self.image_shape
        return (LEVELS * channels, *size)

    @float32_or_better
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Nats `(N,)` of levels `x`."""
        x, params = self._broadcast(x, params)
        logits = self._logits(params)
        chosen = logits.gather(-3, x.long().unsqueeze(-3)).squeeze(-3)
        return self._sum(chosen - logits.logsumexp(-3))

    @float32_or_better
    def mean(self, params: Tensor) -> Tensor:
        """The expectation over the 256 levels."""
        levels = torch.arange(LEVELS, dtype=params.dtype, device=params.device)
        return to_images(torch.einsum("...khw,k->...hw", self._logits(params).softmax(-3), levels))

    @float32_or_better
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """The first level below which more than `noise` of the probability lies."""
        ends = self._logits(params).softmax(-3).cumsum(-3)
        target = noise.unsqueeze(-3) * ends[..., -1:, :, :]  # rounding leaves the whole a little off 1
        return to_images((ends <= target).sum(-3).clamp(max=LEVELS - 1).to(params.dtype))

    def _logits(self, params: Tensor) -> Tensor:
        """`(*, C, 256, H, W)`."""
        return params.unflatten(-3, (self.image_shape[0], LEVELS))
