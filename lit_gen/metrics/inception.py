"""The Inception score: how sure a classifier is of each sample, and how evenly it finds the classes."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_gen.metrics.moments import check_features


class InceptionScore(Metric):
    """exp(E_x KL(p(y|x) ‖ p(y))), from 1 to the number of classes (Salimans et al. 2016, arXiv:1606.03498).

    Mean and standard deviation over `splits` parts of the samples; sample i belongs to part i mod `splits`. The states
    are sums, so the number of samples bounds no memory, and processes add up. It is the published score only for the
    classifier of the paper and 50,000 samples in 10 parts; other classifiers give a scale of their own.

    Args:
        num_classes: K.
        splits: parts, at least 1.
        **kwargs: of ``torchmetrics.Metric``.
    """

    full_state_update = False
    higher_is_better = True
    marginals: Tensor
    negative_entropies: Tensor
    counts: Tensor

    def __init__(self, num_classes: int, splits: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if splits < 1:
            raise ValueError(f"splits={splits}: at least 1 is needed")
        self.splits = splits
        for name, shape in {
            "marginals": (splits, num_classes),
            "negative_entropies": (splits,),
            "counts": (splits,),
        }.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, index: Tensor) -> None:
        """Add samples by their class scores ``(N, num_classes)`` and their positions ``(N,)`` among all samples.

        Raises:
            ValueError: other shapes.
            NotFiniteError: a class score that is NaN or infinite.
        """
        check_features(logits, self.marginals.shape[1], "logits")
        if index.shape != logits.shape[:1]:
            raise ValueError(f"index of shape {tuple(index.shape)}: expected ({len(logits)},)")
        log_p = logits.to(self.marginals.device).double().log_softmax(1)
        part = index.to(log_p.device) % self.splits
        self.marginals = self.marginals.index_add(0, part, log_p.exp())
        self.negative_entropies = self.negative_entropies.index_add(0, part, (log_p.exp() * log_p).sum(1))
        self.counts = self.counts + part.bincount(minlength=self.splits)

    def compute(self) -> dict[str, float]:
        """``inception_score`` and ``inception_score_std`` of all processes' samples (a collective).

        Raises:
            ValueError: fewer samples than parts.
        """
        if self.counts.min() < 1:
            raise ValueError(f"inception score of {int(self.counts.sum())} samples in {self.splits} parts: too few")
        marginal = self.marginals / self.counts[:, None]
        divergence = self.negative_entropies / self.counts - torch.special.xlogy(marginal, marginal).sum(1)
        scores = divergence.exp()
        return {"inception_score": float(scores.mean()), "inception_score_std": float(scores.std(correction=0))}
