"""Lookup-free quantisation (Yu et al. 2023, MAGVIT-v2, arXiv:2310.05737)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.networks.bottlenecks.base import Code, Quantizer
from lit_gen.precision import float32_or_better

MOST_BITS = 20  # of a code; the mean probabilities of all codes are held


class LFQ(Quantizer):
    """Each channel's sign: codes {−1, 1}^bits, with a pull towards sure and evenly used ones (section 3.1).

    The latent is q = sign h, with the gradient of h. The loss is

        w (E H(p(· | h)) − γ H(E p(· | h))) + β E ‖h − q‖² / bits,    p(c | h) ∝ exp(−‖h − c‖² / τ),

    with expectations over all positions of the whole batch. Where the first term is minimal it is −w γ bits log 2.
    p is a product over the bits, of probabilities s(4 h_i / τ): H(p) is a sum over them, and the mean of p is the
    product of two matrices, one for each half of the bits, so that 2^bits numbers are held once and not for every
    position.

    A code's number is Σ_i 2^i [h_i > 0].

    Args:
        image_shape: `(C, H, W)`.
        bits: of a code; 2^bits codes, as many channels as bits.
        entropy_weight: w.
        diversity: γ.
        commitment: β.
        temperature: τ.

    Raises:
        ValueError: for bits below 1 or above 20, a negative factor, or a temperature that is not positive.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        bits: int = 10,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        commitment: float = 0.25,
        temperature: float = 1.0,
    ):
        super().__init__(image_shape)
        if not 1 <= bits <= MOST_BITS:
            raise ValueError(f"bits={bits}: LFQ needs 1 to {MOST_BITS}")
        factors = {"entropy_weight": entropy_weight, "diversity": diversity, "commitment": commitment}
        for name, value in factors.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}: LFQ needs a finite number, at least 0")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature}: LFQ needs a positive, finite number")
        self.channels = self.encoded_channels = self.bits_per_code = bits
        self.codes = 2**bits
        self.entropy_weight, self.diversity = entropy_weight, diversity
        self.commitment, self.temperature = commitment, temperature

    @float32_or_better
    def forward(self, encoded: Tensor, noise: Tensor | None = None) -> Code:
        """Signs, and the entropies' and the commitment's terms."""
        signs = _signs(encoded)
        sure, spread = self.entropies(encoded)
        commitment = (encoded - signs).square().mean()
        loss = self.entropy_weight * (sure - self.diversity * spread) + self.commitment * commitment
        values = {"code_entropy_nats": sure, "codebook_entropy_nats": spread, "commitment": commitment}
        return self.quantised(signs, encoded, loss, values)

    @float32_or_better
    def entropies(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """E H(p) and H(E p) in nats; the second is the whole batch's, and its gradient this part's share of that."""
        logits = 4 * encoded.movedim(1, -1).reshape(-1, self.channels) / self.temperature  # (positions, bits)
        log_on, log_off = F.logsigmoid(logits), F.logsigmoid(-logits)
        on, off = log_on.exp(), log_off.exp()
        sure = -(on * log_on + off * log_off).sum(1).mean()
        half = self.channels // 2
        mean = _joint(on[:, :half], off[:, :half]).T @ _joint(on[:, half:], off[:, half:]) / logits.shape[0]
        whole = self.batch_mean(mean) if self.training and self.batch_mean is not None else mean
        # d H(p) = −Σ dp log p, as Σ dp = 0: a mean over samples once log p is that of the whole batch.
        return sure, -(mean * whole.detach().clamp(min=torch.finfo(mean.dtype).tiny).log()).sum()

    @torch.no_grad()
    def indices(self, encoded: Tensor) -> Tensor:
        """Numbers int64 `(N, h, w)`."""
        return ((encoded > 0) * self._places(encoded)).sum(1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Latents `(N, bits, h, w)` of −1 and 1."""
        on = indices.unsqueeze(1) // self._places(indices) % 2
        return (2 * on - 1).float()

    def _places(self, like: Tensor) -> Tensor:
        return 2 ** torch.arange(self.channels, device=like.device)[:, None, None]


def _signs(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype)


def _joint(on: Tensor, off: Tensor) -> Tensor:
    """Probabilities `(positions, 2^bits)` of all combinations of independent bits, the first one the fastest."""
    joint = on.new_ones(on.shape[0], 1)  # not len(): torch.export would take the batch for a constant
    for one, zero in zip(on.T, off.T, strict=True):
        joint = torch.cat([joint * zero[:, None], joint * one[:, None]], 1)
    return joint
