"""A history of generated images, from which a discriminator learns (Shrivastava et al. 2017, arXiv:1612.07828)."""

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Answers each generated image with that image or an older one.

    The first ``size`` images are kept and returned as they are. From then on an image is, with probability one half,
    returned as it is, and else kept in the place of a uniformly chosen older one, which is returned. The images
    of a batch go through one after another, so that a later one may meet an earlier one.

    Args:
        size: Images kept; 50 in CycleGAN, 0 for no history.

    Raises:
        ValueError: for a negative size.
    """

    def __init__(self, size: int = 50) -> None:
        if size < 0:
            raise ValueError(f"pool_size={size}: a number of images, 0 for no history")
        self.size = size
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor, uniform: Tensor) -> Tensor:
        """Exchange a batch.

        Args:
            images: ``(N, *)``, without gradient.
            uniform: Numbers in [0, 1), ``(N, 2)``: whether to exchange, and with which image.

        Returns:
            As many images ``(N, *)``, of the same type and on the same device.
        """
        returned = []
        for image, (chance, place) in zip(images, uniform.tolist(), strict=True):
            answer = image
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif self.size > 0 and chance < 0.5:
                index = int(place * self.size)
                answer, self.images[index] = self.images[index].to(image), image.clone()
            returned.append(answer)
        return torch.stack(returned)

    def state_dict(self) -> dict[str, Any]:
        """The images kept, in their places."""
        return {"images": [image.clone() for image in self.images]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with these images; more than ``size`` are cut off."""
        self.images = list(state["images"])[: self.size]
