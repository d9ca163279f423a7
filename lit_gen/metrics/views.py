"""Learning from images without labels: two views of an image are told from those of others (arXiv:2002.05709)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.2
SMALLEST = 0.5  # side of a view over that of the image
JITTER = 0.4  # of contrast about 1, and of brightness about 0 in [-1, 1]


class Projection(nn.Module):
    """What views are compared in: a layer above the features, so that these needn't forget what a view changes.

    Args:
        num_features: D of the features.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        hidden = [nn.Linear(num_features, 128), nn.BatchNorm1d(128), nn.ReLU()]
        self.layers = nn.Sequential(*hidden, nn.Linear(128, 64))

    def forward(self, features: Tensor) -> Tensor:
        """Of features ``(N, D)`` the projections ``(N, 64)``."""
        return self.layers(features)


def view(images: Tensor, generator: torch.Generator, flip: bool = False) -> Tensor:
    """Of each image ``(N, C, H, W)`` a random part, scaled to the whole, in another contrast and brightness.

    Args:
        images: in [-1, 1].
        generator: of the choices.
        flip: mirror half of them.
    """
    count, channels = images.shape[:2]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    side = SMALLEST + (1 - SMALLEST) * uniform()
    mirror = torch.where(uniform() < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    place = torch.zeros(count, 2, 3)
    place[:, 0, 0], place[:, 1, 1] = side * mirror, side
    place[:, :, 2] = (2 * uniform(2) - 1) * (1 - side)[:, None]
    grid = F.affine_grid(place, list(images.shape), align_corners=False)
    parts = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain = 1 + JITTER * (2 * uniform(channels, 1, 1) - 1)
    return parts * gain + JITTER * (2 * uniform(1, 1, 1) - 1)


def contrast(projections: Tensor) -> Tensor:
    """Mean cross-entropy of finding each row's other view among all rows, by cosine over the temperature (NT-Xent).

    Args:
        projections: ``(2N, D)``; rows i and i + N are of the same image.
    """
    count = len(projections) // 2
    rows = F.normalize(projections, dim=1)
    likeness = (rows @ rows.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * count, device=rows.device).roll(count)
    return F.cross_entropy(likeness, partner)


def views_found(first: Tensor, second: Tensor) -> Tensor:
    """Whether each first view's nearest second one ``(N, D)``, by cosine, is of the same image, ``(N,)``."""
    likeness = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    return likeness.argmax(1) == torch.arange(len(first), device=first.device)
