"""What a discriminator sees of images."""

import math
from typing import Any

import torch
from torch import Tensor

from lit_gen.training.augmentation.base import Augmentation
from lit_gen.training.packing import Packing
from lit_gen.training.randomness import Randomness


class View:
    """The discriminator's view of images, real and generated alike: augmented, m packed as one, under instance noise.

    Its random numbers are drawn apart (:meth:`numbers`), so that they are inputs of an update like all others.

    Args:
        pack: m samples joined as one (PacGAN, Lin et al. 2018, arXiv:1712.04086).
        noise: Standard deviation of the instance noise (Sønderby et al. 2017, arXiv:1610.04490).
        noise_images: Images after which the noise has gone linearly to zero; None for never.
        augmentation: Of each image by itself; None for none.
        image_shape: ``(C, H, W)`` of an image, which an augmentation needs.

    Attributes:
        memory: The augmentation's, if it has one; the module keeps it.

    Raises:
        ValueError: for numbers out of their range, or an augmentation of points.
    """

    def __init__(
        self,
        pack: int = 1,
        noise: float = 0.0,
        noise_images: int | None = None,
        augmentation: Augmentation | None = None,
        image_shape: tuple[int, ...] = (),
    ) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"instance_noise={noise}: a finite standard deviation, at least 0")
        if noise_images is not None and noise_images < 1:
            raise ValueError(f"instance_noise_images={noise_images}: at least 1 image, or null for no end")
        self.packing, self.noise, self.noise_images = Packing(pack), noise, noise_images
        self.augmentation = augmentation
        self.memory: Any = None
        self.width = 0  # of the augmentation's numbers
        if augmentation is not None:
            check_images(augmentation, "augmentation", image_shape)
            self.width = pack * augmentation.numbers(image_shape)

    def numbers(self, packed: Tensor, random: Randomness, images_seen: int) -> Tensor | None:
        """Random numbers for a batch like ``packed`` ``(N/m, *packed_shape)``; None where the view needs none.

        With an augmentation they are ``(N/m, K)``, its own first.
        """
        drawn = [] if self.augmentation is None else [random.uniform(len(packed), self.width)]
        left = 1.0 if self.noise_images is None else 1 - images_seen / self.noise_images
        if self.noise > 0 and left > 0:
            drawn.append(self.noise * left * random.normal(*packed.shape))
        if len(drawn) > 1:
            return torch.cat([numbers.flatten(1) for numbers in drawn], 1)
        return drawn[0] if drawn else None

    def __call__(self, packed: Tensor, numbers: Tensor | None) -> Tensor:
        """Packed images ``(N/m, *packed_shape)`` as the discriminator sees them."""
        if numbers is None:
            return packed
        if self.augmentation is None:
            return packed + numbers
        of_images, noise = numbers[:, : self.width], numbers[:, self.width :]
        seen = self.augmentation.of_packs(packed, of_images, self.packing.size, self.memory)
        return seen + noise.view_as(packed) if noise.numel() else seen

    def both(self, real: Tensor, fake: Tensor, of_real: Tensor | None, of_fake: Tensor | None) -> tuple[Tensor, Tensor]:
        """Two batches as the discriminator sees them, augmented in one go."""
        if self.augmentation is None or of_real is None or of_fake is None:
            return self(real, of_real), self(fake, of_fake)
        seen = self(torch.cat([real, fake]), torch.cat([of_real, of_fake]))
        return seen[: len(real)], seen[len(real) :]


def check_images(augmentation: Augmentation, argument: str, shape: tuple[int, ...]) -> None:
    """Refuse to augment anything else than images.

    Raises:
        ValueError: naming the argument and the shape.
    """
    if len(shape) != 3:
        kind = type(augmentation).__name__
        raise ValueError(f"{argument}={kind}: it transforms images (C, H, W), these data have the shape {shape}")
