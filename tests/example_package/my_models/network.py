"""A generator."""

import torch
from torch import Tensor, nn

from lit_gen.networks import Generator


class CoordinateGenerator(Generator):
    """An image as a function of place: one MLP of (y, x) and z gives each pixel."""

    grid: Tensor

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int, width: int = 64):
        super().__init__(image_shape, latent_dim)
        channels, rows, columns = image_shape
        places = torch.cartesian_prod(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns))
        self.register_buffer("grid", places)  # (H W, 2)
        self.of_place, self.of_z = nn.Linear(2, width), nn.Linear(latent_dim, width)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, channels), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z ``(N, latent_dim)`` to images ``(N, C, H, W)`` in [-1, 1]."""
        pixels: Tensor = self.head(self.of_place(self.grid) + self.of_z(z).unsqueeze(1))  # (N, H W, C)
        return pixels.transpose(1, 2).reshape(len(z), *self.image_shape)
