"""A conditional discriminator with its labels given."""

from torch import Tensor, nn


class Conditioned(nn.Module):
    """D(·, y): scores images as if they alone were the argument, as penalties do.

    Args:
        discriminator: Takes images and labels.
        labels: y ``(N,)``. For k N images, such as real and generated ones in a pass, they are repeated.
    """

    def __init__(self, discriminator: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.discriminator, self.labels = discriminator, labels

    def forward(self, x: Tensor) -> Tensor:
        """Raw scores ``(k N,)``."""
        return self.discriminator(x, self.labels.repeat(len(x) // len(self.labels)))
