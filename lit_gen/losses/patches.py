"""What a translation's patches share with those they come from (CUT, Park et al. 2020, arXiv:2007.15651)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.precision import float32_or_better


@dataclass(frozen=True)
class PatchContrast:
    """PatchNCE: the cross-entropy of finding, for a patch of the translation, the image's patch of the same place.

        −log [exp(q·k₊/τ) / (exp(q·k₊/τ) + Σ exp(q·k₋/τ))],

    q a patch of the translation, k₊ that of the image at its place and k₋ the image's other patches, all as vectors of
    length 1; a mean over places, images and stages. No gradient goes through k.

    Args:
        temperature: τ.
        num_patches: Places of each image and stage, drawn without repetition; all where there are fewer.

    Raises:
        ValueError: for numbers out of range.
    """

    temperature: float = 0.07
    num_patches: int = 256

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature}: a finite number above 0")
        if self.num_patches < 2:
            raise ValueError(f"num_patches={self.num_patches}: at least 2, of which one is to be found")

    def places(self, features: Sequence[Tensor], numbers: Tensor) -> list[Tensor]:
        """Where patches are taken: of each stage ``(N, P)``, from random numbers ``(N, at least its positions)``."""
        sizes = [stage[0, 0].numel() for stage in features]
        return [numbers[:, :size].argsort(dim=1)[:, : self.num_patches] for size in sizes]

    def patches(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """Features ``(N, C, h, w)`` of each stage at its places, ``(N, P, C)``."""
        return [
            stage.flatten(2).mT.gather(1, chosen[:, :, None].expand(-1, -1, stage.shape[1]))
            for stage, chosen in zip(features, places, strict=True)
        ]

    def __call__(self, queries: Sequence[Tensor], keys: Sequence[Tensor]) -> Tensor:
        """The loss of unit vectors ``(N, P, K)`` of each stage."""
        return torch.stack([cross_entropy(q, k, self.temperature) for q, k in zip(queries, keys, strict=True)]).mean()


@float32_or_better
def cross_entropy(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Of one stage; ``(N, P, K)`` each."""
    logits = queries @ keys.detach().mT / temperature
    own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), own.flatten())
