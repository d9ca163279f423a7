"""Classifiers as scores: can samples be told from data, and do they teach what the data teach?"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.precision import to_float64


class LinearClassifier:
    """Multinomial logistic regression on standardised features, trained to its optimum in float64.

    Mean cross-entropy + `decay` / 2 · |W|², by L-BFGS from zero: the same data give the same weights.

    Args:
        rows: features ``(N, D)``.
        labels: classes ``(N,)`` from 0 to `num_classes` − 1.
        num_classes: K ≥ 2.
        decay: of the weights, not of the biases.
    """

    def __init__(self, rows: Tensor, labels: Tensor, num_classes: int, decay: float = 1e-3) -> None:
        rows = to_float64(rows)
        self.mean, deviation = rows.mean(0), rows.std(0, correction=0)
        self.scale = torch.where(deviation > 0, deviation, 1.0)
        x, y = (rows - self.mean) / self.scale, labels.to(rows.device)
        with torch.inference_mode(False), torch.enable_grad():
            x, y = x.clone(), y.clone()
            self.weight = torch.zeros(num_classes, x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
            self.bias = torch.zeros(num_classes, dtype=x.dtype, device=x.device, requires_grad=True)
            optimizer = torch.optim.LBFGS(
                [self.weight, self.bias],
                max_iter=200,
                tolerance_grad=1e-6,
                history_size=20,
                line_search_fn="strong_wolfe",
            )

            def loss() -> Tensor:
                optimizer.zero_grad()
                value = F.cross_entropy(F.linear(x, self.weight, self.bias), y)
                value = value + decay / 2 * self.weight.square().sum()
                value.backward()
                return value

            optimizer.step(loss)
        self.weight, self.bias = self.weight.detach(), self.bias.detach()

    def accuracy(self, rows: Tensor, labels: Tensor) -> float:
        """Share of rows ``(N, D)`` whose class is ``labels`` ``(N,)``."""
        logits = F.linear((to_float64(rows) - self.mean) / self.scale, self.weight, self.bias)
        return float((logits.argmax(1) == labels.to(logits.device)).double().mean())


def logistic_two_sample_test(samples: Tensor, real: Tensor, seed: int = 0) -> dict[str, float]:
    """Accuracy on held-out halves of a linear classifier that tells samples from data (arXiv:1610.06545).

    As many of either set as the smaller has are drawn and cut in two; each half is judged by the other's classifier.
    ``logistic_accuracy`` is 0.5 for two sets of one distribution, 1 if a plane divides them, below 0.5 for copies.
    ``logistic_p`` is the probability of such an accuracy or a higher one under H₀: N(½, 1 / 4n) for n judged features,
    as if the two halves were judged independently.

    Args:
        samples: features ``(N, D)``, N ≥ 4.
        real: features ``(M, D)``, M ≥ 4.
        seed: of the halves.
    """
    count = min(len(samples), len(real)) // 2 * 2
    if count < 4:
        raise ValueError(f"two-sample test of {len(samples)} samples and {len(real)} data: at least 4 of each")
    generator = torch.Generator().manual_seed(seed)
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for rows in (samples, real):
        drawn = rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]
        for half, part in zip(halves, drawn.chunk(2), strict=True):
            half.append(part)
    labels = torch.arange(2).repeat_interleave(count // 2)
    first, second = (torch.cat(half) for half in halves)
    accuracies = [
        LinearClassifier(train, labels, 2).accuracy(test, labels) for train, test in ((first, second), (second, first))
    ]
    accuracy = sum(accuracies) / 2
    z = torch.tensor((accuracy - 0.5) * 2 * (2 * count) ** 0.5, dtype=torch.float64)
    return {"logistic_accuracy": accuracy, "logistic_p": float(torch.special.ndtr(-z))}


def class_transfer(rows: Tensor, labels: Tensor, real_rows: Tensor, real_labels: Tensor) -> dict[str, float]:
    """GAN-train and GAN-test (Shmelkov et al. 2018, arXiv:1807.09499) of a linear classifier on features.

    ``gan_train_linear``: accuracy on the data of a classifier taught by labelled samples, low where samples lack
    variety or quality. ``gan_test_linear``: accuracy on the samples of one taught by the data, low where samples do not
    show their class. The paper trains deep networks on pixels; these accuracies are comparable among themselves.

    Args:
        rows: samples' features ``(N, D)``.
        labels: classes asked for ``(N,)``.
        real_rows: the data's features ``(M, D)``.
        real_labels: their classes ``(M,)``.
    """
    num_classes = int(max(labels.max(), real_labels.max())) + 1
    if num_classes < 2:
        raise ValueError("GAN-train and GAN-test need labels of at least 2 classes")
    return {
        "gan_train_linear": LinearClassifier(rows, labels, num_classes).accuracy(real_rows, real_labels),
        "gan_test_linear": LinearClassifier(real_rows, real_labels, num_classes).accuracy(rows, labels),
    }
