"""What augmentations have in common: a fixed count of uniform numbers an image, names of what they do."""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_gen.training.memory import Memory


class Augmentation(ABC):
    """Random transformations of images in [-1, 1], real and generated alike, differentiable as often as is wanted.

    Each image is transformed by numbers of its own, ``(N, numbers(image_shape))``, which are inputs of an update like
    all other random numbers. Images are of any size and any number of channels. An augmentation is a frozen dataclass;
    what it learns from updates is held by its ``memory()``, which its call then gets.
    """

    @abstractmethod
    def numbers(self, image_shape: tuple[int, ...]) -> int:
        """Uniform numbers that each image of shape ``(C, H, W)`` takes."""

    @abstractmethod
    def __call__(self, images: Tensor, numbers: Tensor, memory: Any = None) -> Tensor:
        """Images ``(N, C, H, W)`` transformed by uniform numbers ``(N, K)``, in the images' type."""

    def memory(self) -> Memory | None:
        """What it learns from updates; by default nothing."""
        return None

    def of_packs(self, packs: Tensor, numbers: Tensor, size: int, memory: Any = None) -> Tensor:
        """Packs ``(N/m, m C, H, W)`` of m = ``size`` images, each transformed by itself.

        Args:
            packs: Images joined along their channels.
            numbers: ``(N/m, m K)``.
            size: m.
            memory: The augmentation's, if it has one.
        """
        given = {} if memory is None else {"memory": memory}
        images = packs.unflatten(1, (size, -1)).flatten(0, 1)
        return self(images, numbers.reshape(len(images), -1), **given).unflatten(0, (-1, size)).flatten(1, 2)


class Numbers:
    """The uniform numbers ``(N, K)`` of a batch, used up column by column; each result is ``(N,)`` or ``(N, k)``.

    Args:
        uniform: ``(N, K)`` in [0, 1).
        p: Probability of a transformation.
    """

    def __init__(self, uniform: Tensor, p: float | Tensor = 1.0) -> None:
        self._uniform, self.p, self._used = uniform, p, 0

    def gate(self, p: float | Tensor | None = None) -> Tensor:
        """True with probability ``p``, by default the common one."""
        return self.uniform() < (self.p if p is None else p)

    def uniform(self) -> Tensor:
        """U[0, 1)."""
        return self.uniforms(1)[:, 0]

    def uniforms(self, count: int) -> Tensor:
        """U[0, 1), ``(N, count)``."""
        self._used += count
        if self._used > self._uniform.shape[1]:
            raise ValueError(f"numbers={self._uniform.shape[1]}: at least {self._used} for each image are needed")
        return self._uniform[:, self._used - count : self._used]

    def integer(self, below: int) -> Tensor:
        """One of 0, …, ``below`` − 1, as a floating-point number."""
        return (self.uniform() * below).floor().clamp(max=below - 1)

    def normal(self) -> Tensor:
        """N(0, 1), by the quantile of a uniform number kept off 0 and 1, where it is infinite."""
        return normal(self.uniform())


def normal(uniform: Tensor) -> Tensor:
    """N(0, 1) of uniform numbers."""
    return torch.special.ndtri(uniform.clamp(2**-25, 1 - 2**-24))


def select(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    """``changed`` images where ``chosen`` ``(N,)``, else the images themselves, bit for bit."""
    return torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), changed, images)


def names(given: str | Sequence[str], accepted: Iterable[str], argument: str, kind: str) -> list[str]:
    """The names in a text such as ``"color, cutout"`` or a list, each once and in their order.

    Raises:
        ValueError: for a name that isn't accepted, one that is given twice, or none at all.
    """
    accepted = list(accepted)
    words = re.findall(r"[^\s,\[\]'\"]+", given if isinstance(given, str) else ",".join(map(str, given)))
    told = f"accepted: {', '.join(accepted)}"
    for word in words:
        if word not in accepted:
            close = difflib.get_close_matches(word, accepted, 1)
            raise ValueError(f"{argument}={word!r}: {kind} knows no such; {_meant(close)}{told}")
    if not words or len(set(words)) < len(words):
        raise ValueError(f"{argument}={given!r}: {kind} needs names, each once; {told}")
    return words


def _meant(close: list[str]) -> str:
    return f"did you mean {close[0]}? " if close else ""
