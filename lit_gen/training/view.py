"""What a discriminator sees of images."""

import math

from torch import Tensor

from lit_gen.training.packing import Packing
from lit_gen.training.randomness import Randomness


class View:
    """The discriminator's view of images, real and generated alike: m packed as one, under instance noise.

    Its random numbers are drawn apart (:meth:`numbers`), so that they are inputs of an update like all others.

    Args:
        pack: m samples joined as one (PacGAN, Lin et al. 2018, arXiv:1712.04086).
        noise: Standard deviation of the instance noise (Sønderby et al. 2017, arXiv:1610.04490).
        noise_images: Images after which the noise has gone linearly to zero; None for never.

    Raises:
        ValueError: for numbers out of their range.
    """

    def __init__(self, pack: int = 1, noise: float = 0.0, noise_images: int | None = None) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"instance_noise={noise}: a finite standard deviation, at least 0")
        if noise_images is not None and noise_images < 1:
            raise ValueError(f"instance_noise_images={noise_images}: at least 1 image, or null for no end")
        self.packing, self.noise, self.noise_images = Packing(pack), noise, noise_images

    def numbers(self, packed: Tensor, random: Randomness, images_seen: int) -> Tensor | None:
        """Random numbers for a batch like ``packed`` ``(N/m, *packed_shape)``; None where the view needs none."""
        left = 1.0 if self.noise_images is None else 1 - images_seen / self.noise_images
        if self.noise == 0 or left <= 0:
            return None
        return self.noise * left * random.normal(*packed.shape)

    def __call__(self, packed: Tensor, numbers: Tensor | None) -> Tensor:
        """Packed images ``(N/m, *packed_shape)`` as the discriminator sees them."""
        return packed if numbers is None else packed + numbers
