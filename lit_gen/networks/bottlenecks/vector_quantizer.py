"""Vector quantisation with a learned codebook (van den Oord et al. 2017, arXiv:1711.00937)."""

import math

import torch
from torch import Tensor

from lit_gen.networks.bottlenecks.base import Code, Quantizer
from lit_gen.precision import float32_or_better

NOTHING = 1e-5  # mean count from which on a code is near to nothing and stays where it is


class VectorQuantizer(Quantizer):
    """The nearest of K vectors at each position, which follow the means of what is nearest to them.

    The latent is e_k, k = argmin ‖h − e_k‖, with the gradient of h. The loss is β E ‖h − sg(e_k)‖² / channels
    (equation 3); the codebook has none, it moves after each update (appendix A.1): with n_k positions nearest to e_k,
    of the whole batch, and Σ h their sum,

        N_k ← γ N_k + (1 − γ) n_k,    m_k ← γ m_k + (1 − γ) Σ h,    e_k = m_k / N_k,

    which for γ = 0 is a step of k-means. The first batch gives it K of its vectors. A code that is rarely nearest gets
    another vector of the batch (Dhariwal et al. 2020, arXiv:2005.00341, section 3.1).

    Args:
        image_shape: `(C, H, W)`.
        codes: K.
        channels: of the vectors.
        commitment: β.
        decay: γ.
        restart_below: codes whose N_k is below this share of the mean one are restarted; 0 for never.

    Raises:
        ValueError: for fewer than 2 codes or no channel, a negative β, or shares outside [0, 1).
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    learns = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        codes: int = 1024,
        channels: int = 256,
        commitment: float = 0.25,
        decay: float = 0.99,
        restart_below: float = 0.03,
    ):
        super().__init__(image_shape)
        if codes < 2 or channels < 1:
            raise ValueError(f"codes={codes}, channels={channels}: VectorQuantizer needs at least 2 codes, 1 channel")
        if not 0 <= commitment < math.inf:
            raise ValueError(f"commitment={commitment}: VectorQuantizer needs a finite number, at least 0")
        for name, share in {"decay": decay, "restart_below": restart_below}.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name}={share}: VectorQuantizer needs a share in [0, 1)")
        self.codes, self.channels, self.encoded_channels = codes, channels, channels
        self.commitment, self.decay, self.restart_below = commitment, decay, restart_below
        self.register_buffer("codebook", torch.randn(codes, channels) / math.sqrt(channels))
        self.register_buffer("counts", torch.zeros(codes))  # N; all zero before the first batch
        self.register_buffer("sums", torch.zeros(codes, channels))  # m

    @float32_or_better
    def forward(self, encoded: Tensor, noise: Tensor | None = None) -> Code:
        """The nearest vectors, and the commitment's term."""
        nearest = self.lookup(self.indices(encoded)).to(encoded.dtype)
        commitment = (encoded - nearest).square().mean()
        return self.quantised(nearest, encoded, self.commitment * commitment, {"commitment": commitment})

    @torch.no_grad()
    @float32_or_better
    def indices(self, encoded: Tensor) -> Tensor:
        """Numbers int64 `(N, h, w)`."""
        return self._nearest(encoded.movedim(1, -1))

    def lookup(self, indices: Tensor) -> Tensor:
        """Latents `(N, channels, h, w)` of the numbers."""
        return self.codebook[indices].movedim(-1, 1)

    def _nearest(self, vectors: Tensor) -> Tensor:
        """argmin ‖v − e‖² = argmin ½‖e‖² − v · e over the last dimension."""
        book = self.codebook.to(vectors.dtype)
        return (0.5 * book.square().sum(1) - vectors @ book.T).argmin(-1)

    @torch.no_grad()
    @float32_or_better
    def learn(self, encoded: Tensor, generator: torch.Generator) -> None:
        """Move the codebook towards the batch, and restart what is out of use."""
        vectors = encoded.movedim(1, -1).reshape(-1, self.channels).to(self.codebook.dtype)
        chosen = vectors[
            torch.randperm(max(len(vectors), self.codes), generator=generator)[: self.codes] % len(vectors)
        ]
        decay = self.decay
        if not self.counts.any():
            self.codebook.copy_(chosen)
            decay = 0.0
        nearest = self._nearest(vectors)
        self.counts.lerp_(torch.bincount(nearest, minlength=self.codes).to(self.counts.dtype), 1 - decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, nearest, vectors), 1 - decay)
        fair = len(vectors) / self.codes
        dead = self.counts < self.restart_below * fair
        self.counts.masked_fill_(dead, fair)
        self.sums.copy_(torch.where(dead[:, None], fair * chosen, self.sums))
        known = self.counts > NOTHING
        self.codebook.copy_(torch.where(known[:, None], self.sums / self.counts[:, None], self.codebook))
