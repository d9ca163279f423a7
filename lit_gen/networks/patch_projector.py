"""Features of an image's patches as unit vectors (CUT, Park et al. 2020, arXiv:2007.15651, section 3)."""

from collections.abc import Sequence

from torch import Tensor, nn

from lit_gen.networks.base import at_least_one
from lit_gen.precision import float32_or_better


class PatchProjector(nn.Module):
    """Two layers for each stage of a network, linear, ReLU, linear, and the vectors that they give scaled to length 1.

    Args:
        channels: of each stage's features.
        width: of both layers.

    Raises:
        ValueError: for a width below 1.
    """

    def __init__(self, channels: Sequence[int], width: int = 256):
        super().__init__()
        at_least_one(self, width=width)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Linear(given, width), nn.ReLU(), nn.Linear(width, width)) for given in channels
        )

    def forward(self, patches: Sequence[Tensor]) -> list[Tensor]:
        """Of each stage `(N, P, channels)` to `(N, P, width)` of length 1."""
        return [unit(stage(x)) for stage, x in zip(self.stages, patches, strict=True)]


@float32_or_better
def unit(x: Tensor) -> Tensor:
    """Vectors along the last dimension, scaled to length 1."""
    return nn.functional.normalize(x, dim=-1)
