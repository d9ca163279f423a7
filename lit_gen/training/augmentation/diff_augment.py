"""DiffAugment: colours, shifts and holes, always."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lit_gen.precision import float32_or_better
from lit_gen.training.augmentation.base import Augmentation, Numbers, names
from lit_gen.training.augmentation.geometry import cut_out, positions, shift


@dataclass(frozen=True)
class DiffAugment(Augmentation):
    """Differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738), the same kinds at all times.

    - ``color``: x + b, b ~ U(−½, ½); saturation x̄ + s (x − x̄), s ~ U(0, 2), x̄ the mean over channels; contrast
      x̄ + c (x − x̄), c ~ U(½, 3⁄2), x̄ the image's mean. Values are not clamped.
    - ``translation``: by whole pixels, uniformly up to ⌊side/8 + ½⌋ in each direction; zeros, a medium grey, come in.
    - ``cutout``: a hole of zeros of ⌊side/2 + ½⌋, whose centre is uniform.

    Args:
        policy: Which of them and in which order, as ``"color,translation,cutout"`` or a list.

    Raises:
        ValueError: for an unknown name.
    """

    policy: str | Sequence[str] = "color,translation,cutout"

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", ",".join(names(self.policy, POLICIES, "policy", "DiffAugment")))

    def numbers(self, image_shape: tuple[int, ...]) -> int:
        """Three for colours, two for each other policy."""
        return sum(POLICIES[name][0] for name in str(self.policy).split(","))

    def __call__(self, images: Tensor, numbers: Tensor, memory: Any = None) -> Tensor:
        """Images ``(N, C, H, W)`` transformed by uniform numbers ``(N, K)``."""
        return self._transformed(images, numbers).to(images.dtype)

    @float32_or_better
    def _transformed(self, images: Tensor, numbers: Tensor) -> Tensor:
        drawn = Numbers(numbers)
        for name in str(self.policy).split(","):
            images = POLICIES[name][1](images, drawn)
        return images


def color(x: Tensor, drawn: Numbers) -> Tensor:
    """Brightness, saturation, contrast."""
    brightness, saturation, contrast = (drawn.uniform().view(-1, 1, 1, 1) for _ in range(3))
    x = x + (brightness - 0.5)
    if x.shape[1] > 1:  # grey is its own mean
        mean = x.mean(1, keepdim=True)
        x = mean + 2 * saturation * (x - mean)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (x - mean)


def translation(x: Tensor, drawn: Numbers) -> Tensor:
    """Whole pixels down and to the right."""
    most = [int(side / 8 + 0.5) for side in x.shape[2:]]
    return shift(x, *(drawn.integer(2 * side + 1) - side for side in most))


def cutout(x: Tensor, drawn: Numbers) -> Tensor:
    """A hole around one of side + 1 centres, of side for an odd hole; it may reach over the border."""
    holes = [int(side / 2 + 0.5) for side in x.shape[2:]]
    firsts = [drawn.integer(s + 1 - hole % 2) - hole // 2 for s, hole in zip(x.shape[2:], holes, strict=True)]
    inside = [
        (at >= first[:, None]) & (at < first[:, None] + hole)
        for at, first, hole in zip(positions(x), firsts, holes, strict=True)
    ]
    return cut_out(x, *inside)


POLICIES: dict[str, tuple[int, Callable[[Tensor, Numbers], Tensor]]] = {  # numbers an image, what is done
    "color": (3, color),
    "translation": (2, translation),
    "cutout": (2, cutout),
}
