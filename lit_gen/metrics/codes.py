"""How an autoencoder's codes are used."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class CodeUsage(Metric):
    """How many of a codebook's codes occur, and their perplexity exp(−Σ p log p), which is K for even use of all K.

    Counts add over batches and processes.

    Args:
        codes: K.
        **kwargs: of ``torchmetrics.Metric``.

    Raises:
        ValueError: when updated with numbers that are none of the codes'.

    Example:
        >>> usage = CodeUsage(codes=4)
        >>> usage.update(torch.tensor([[0, 0], [3, 3]]))
        >>> usage.compute()
        {'codes_used': 2, 'perplexity': 2.0}
    """

    full_state_update = False
    higher_is_better = True
    histogram: Tensor

    def __init__(self, codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codes = codes
        self.add_state("histogram", torch.zeros(codes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, indices: Tensor) -> None:
        """Take the codes' numbers, whole ones of any shape."""
        if indices.is_floating_point() or (indices.numel() and not 0 <= indices.min() <= indices.max() < self.codes):
            raise ValueError(
                f"indices {indices.dtype} {tuple(indices.shape)}: whole numbers from 0 to {self.codes - 1}"
            )
        self.histogram += torch.bincount(indices.flatten(), minlength=self.codes)

    def compute(self) -> dict[str, float]:
        """``codes_used`` and ``perplexity``."""
        shares = self.histogram[self.histogram > 0].cpu().double()
        shares = shares / shares.sum()
        return {"codes_used": len(shares), "perplexity": float(torch.exp(-(shares * shares.log()).sum()))}
