"""How many classes a classifier finds among samples, how sure it is, and whether they are the classes asked for."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_gen.metrics.moments import check_features


class ClassCoverage(Metric):
    """Number of classes that are some sample's argmax, and the mean of the largest softmax probability.

    A generator that leaves out classes scores few of them; one that draws nothing in particular a low probability.
    Where samples were asked for by class, also the share of them whose argmax it is. Counts and sums add over batches
    and processes.

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
    labelled: Tensor
    right: Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_state("histogram", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("probability", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("labelled", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor | None = None) -> None:
        """Add samples by their class scores ``(N, num_classes)``, and the classes ``(N,)`` asked for, if any.

        Raises:
            ValueError: other shapes.
            NotFiniteError: a class score that is NaN or infinite.
        """
        check_features(logits, self.num_classes, "logits")
        if labels is not None and labels.shape != logits.shape[:1]:
            raise ValueError(f"labels of shape {tuple(labels.shape)}: expected ({len(logits)},)")
        logits = logits.to(self.histogram.device).double()
        found = logits.argmax(1)
        self.histogram = self.histogram + found.bincount(minlength=self.num_classes)
        self.probability = self.probability + logits.softmax(1).amax(1).sum()
        if labels is not None:
            self.labelled = self.labelled + len(labels)
            self.right = self.right + (found == labels.to(found.device)).sum()

    def compute(self) -> dict[str, float]:
        """``classes``, ``top_probability`` and, of samples with labels, ``label_accuracy`` (a collective)."""
        count = max(int(self.histogram.sum()), 1)
        scores = {"classes": int((self.histogram > 0).sum()), "top_probability": float(self.probability) / count}
        return scores if self.labelled == 0 else {**scores, "label_accuracy": int(self.right) / int(self.labelled)}
