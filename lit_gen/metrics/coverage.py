"""Which modes of a known distribution the samples reach, how many samples lie in one, and how evenly."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_gen.metrics.extractors import Extractor
from lit_gen.precision import to_float64

Region = Literal["ball", "box"]
Counted = Literal["good", "all"]


def reverse_kl(histogram: Tensor) -> float:
    """KL(p ‖ u) = Σ pₖ log(K pₖ) in nats, of the samples' share p of each mode against the uniform u.

    0 where all K modes are hit alike, log K where one takes all, not a number where nothing was counted.

    Args:
        histogram: Samples of each mode, ``(K,)``.
    """
    histogram = to_float64(histogram)
    share = histogram / histogram.sum()
    return float(torch.special.xlogy(share, len(share) * share).sum())


class MixtureCoverage(Metric):
    """Modes, high-quality share and reverse KL of samples of a mixture of equal round Gaussians.

    A sample belongs to the nearest mean. It is good, "of high quality", if it lies within ``sigmas`` standard
    deviations of it; a mode counts from its first good sample on. The defaults are PacGAN's protocol (Lin et al. 2018,
    arXiv:1712.04086, section 4.1); others differ in ``region`` and ``count``, and the numbers with them. Of the
    mixture's own samples in the plane 1 − exp(−9/2) = 98.89 % are good in the ball, 0.9973² = 99.46 % in the box.

    Args:
        means: The mixture's, ``(K, D)``.
        std: σ of each component along each axis.
        region: ``ball``: ‖x − μ‖ ≤ sigmas σ; ``box``: |xᵢ − μᵢ| ≤ sigmas σ on every axis.
        count: Whose shares of the modes ``reverse_kl`` compares: those of the ``good`` samples, or of ``all``.
        sigmas: Half the region's width in standard deviations.

    Raises:
        ValueError: for means that are no matrix, a σ or width that is not positive, or another region or count.

    Example:
        >>> coverage = MixtureCoverage(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), std=0.1)
        >>> coverage.update(torch.tensor([[0.0, 0.1], [2.0, 0.2], [1.9, 0.0], [1.0, 5.0]]))
        >>> scores = coverage.compute()
        >>> scores["modes"], scores["high_quality"]
        (2, 0.75)
    """

    full_state_update = False
    higher_is_better = True
    good: Tensor
    nearest: Tensor

    def __init__(
        self,
        means: Tensor,
        std: float,
        region: Region = "ball",
        count: Counted = "good",
        sigmas: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(f"means of shape {tuple(means.shape)}: expected (K, D)")
        if not (std > 0 and sigmas > 0):
            raise ValueError(f"std={std}, sigmas={sigmas}: both must be above 0")
        if region not in get_args(Region):
            raise ValueError(f"region={region!r}: 'ball' or 'box'")
        if count not in get_args(Counted):
            raise ValueError(f"count={count!r}: 'good' or 'all'")
        self.register_buffer("means", means.detach().double(), persistent=False)
        self.radius, self.region, self.count = sigmas * std, region, count
        for histogram in ("good", "nearest"):
            self.add_state(histogram, torch.zeros(len(means), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, points: Tensor) -> None:
        """Add samples ``(N, D)``.

        Raises:
            ValueError: for another shape, or points that are NaN or infinite.
        """
        means: Any = self.means
        if points.ndim != 2 or points.shape[1] != means.shape[1]:
            raise ValueError(f"points of shape {tuple(points.shape)}: expected (N, {means.shape[1]})")
        if not points.isfinite().all():
            raise ValueError("points: some are NaN or infinite")
        offsets = points.to(means.device).to(means.dtype)[:, None] - means
        modes = offsets.square().sum(2).argmin(1)
        own = offsets[torch.arange(len(modes), device=modes.device), modes]
        distance = own.norm(dim=1) if self.region == "ball" else own.abs().amax(1)
        self.nearest = self.nearest + modes.bincount(minlength=len(means))
        self.good = self.good + modes[distance <= self.radius].bincount(minlength=len(means))

    def compute(self) -> dict[str, float]:
        """``modes`` found, ``high_quality`` share in [0, 1] and ``reverse_kl`` in nats, of all processes' samples."""
        return {
            "modes": int((self.good > 0).sum()),
            "high_quality": float(self.good.sum().double() / self.nearest.sum()),
            "reverse_kl": reverse_kl(self.good if self.count == "good" else self.nearest),
        }


class StackedCoverage(Metric):
    """Modes and reverse KL of Stacked MNIST: 1,000 of them, one for each number that three stacked digits spell.

    The protocol of VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN: a classifier reads every channel by
    itself (:func:`read_stacked`); all samples count, however poor.

    Args:
        num_modes: K.

    Example:
        >>> coverage = StackedCoverage()
        >>> coverage.update(torch.tensor([7, 7, 999]))
        >>> coverage.compute()["modes"]
        2
    """

    full_state_update = False
    higher_is_better = True
    histogram: Tensor

    def __init__(self, num_modes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_modes = num_modes
        self.add_state("histogram", torch.zeros(num_modes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, modes: Tensor) -> None:
        """Add samples by their modes, int64 ``(N,)`` in [0, num_modes).

        Raises:
            ValueError: for a mode outside.
        """
        if len(modes) and not 0 <= int(modes.min()) <= int(modes.max()) < self.num_modes:
            raise ValueError(f"modes from {modes.min()} to {modes.max()}: expected 0 to {self.num_modes - 1}")
        self.histogram = self.histogram + modes.to(self.histogram.device).bincount(minlength=self.num_modes)

    def compute(self) -> dict[str, float]:
        """``modes`` found and ``reverse_kl`` in nats, of all processes' samples (a collective)."""
        return {"modes": int((self.histogram > 0).sum()), "reverse_kl": reverse_kl(self.histogram)}


def read_stacked(images: Tensor, classifier: Extractor) -> Tensor:
    """The number that stacked digits spell, int64 ``(N,)``: the first channel is its leading digit.

    Args:
        images: ``(N, C, H, W)`` in [-1, 1], a digit in each channel.
        classifier: Tells digits ``(N, 1, H, W)`` apart, such as the shipped ``mnist``: 99.47 % on its test images.

    Raises:
        ValueError: for images of another size than the classifier's, or one without classes.
    """
    _, logits = classifier.extract(images.flatten(0, 1)[:, None])
    if logits is None:
        raise ValueError(f"classifier={classifier.name!r}: it has no classes")
    digits = logits.argmax(1).unflatten(0, images.shape[:2])
    number = torch.zeros_like(digits[:, 0])
    for digit in digits.unbind(1):
        number = logits.shape[1] * number + digit
    return number
