"""A generator."""

from torch import Tensor, nn

from lit_gen.networks import Generator


class LowRankGenerator(Generator):
    """Images that are matrices of a low rank: tanh(R Cᵀ) with factors R and C that an MLP makes of z."""

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int, width: int = 128, rank: int = 2):
        super().__init__(image_shape, latent_dim)
        channels, height, columns = image_shape
        self.height, self.factors = height, (channels, height + columns, rank)
        hidden = [nn.Linear(latent_dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.mlp = nn.Sequential(*hidden, nn.Linear(width, channels * (height + columns) * rank))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z ``(N, latent_dim)`` to images ``(N, C, H, W)`` in [-1, 1]."""
        made: Tensor = self.mlp(z)
        factors = made.reshape(len(z), *self.factors)
        return (factors[:, :, : self.height] @ factors[:, :, self.height :].mT).tanh()
