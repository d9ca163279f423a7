"""How many classes a classifier finds among samples, and how sure it is."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ClassCoverage(Metric):
    """Number of classes that are some sample's argmax, and the mean of the largest softmax probability.

    A generator that leaves out classes scores few of them; one that draws nothing in particular a low probability.
    Counts and sums add over batches and processes.

    Example:
        >>> coverage = ClassCoverage(num_classes=3)
        >>> coverage.update(torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 9.0], [8.0, 0.0, 0.0]]))
        >>> coverage.compute()["classes"]
        2
    """

    full_state_update = False
    higher_is_better = True
    histogram: Tensor
    probability: Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_state("histogram", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("probability", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor) -> None:
        """Add samples by their class scores ``(N, num_classes)``."""
        logits = logits.to(self.histogram.device).double()
        self.histogram = self.histogram + logits.argmax(1).bincount(minlength=self.num_classes)
        self.probability = self.probability + logits.softmax(1).amax(1).sum()

    def compute(self) -> dict[str, float]:
        """``classes`` and ``top_probability`` of all processes' samples (a collective)."""
        count = max(int(self.histogram.sum()), 1)
        return {"classes": int((self.histogram > 0).sum()), "top_probability": float(self.probability) / count}
