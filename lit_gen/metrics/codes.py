"""How an autoencoder's codes are used."""

import math
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
        if indices.is_floating_point():
            raise ValueError(f"indices of {indices.dtype}: whole numbers from 0 to {self.codes - 1} are needed")
        low, high = (int(x) for x in indices.aminmax()) if indices.numel() else (0, 0)
        if low < 0 or high >= self.codes:
            raise ValueError(f"indices from {low} to {high}: the {self.codes} codes are 0 to {self.codes - 1}")
        self.histogram += torch.bincount(indices.flatten().to(self.histogram.device), minlength=self.codes)

    def compute(self) -> dict[str, float]:
        """``codes_used`` and ``perplexity``, which is NaN of no codes."""
        counts = self.histogram[self.histogram > 0].cpu().double()
        if len(counts) == 0:
            return {"codes_used": 0, "perplexity": math.nan}
        shares = counts / counts.sum()
        return {"codes_used": len(shares), "perplexity": float(torch.exp(-(shares * shares.log()).sum()))}
