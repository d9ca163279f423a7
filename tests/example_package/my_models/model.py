"""A training procedure."""

import math
from typing import Any

from torch import Tensor

from lit_gen import GAN
from lit_gen.modules import Judge


class TopKGAN(GAN):
    """A GAN whose generator learns from the samples that the discriminator likes best (Sinha et al. 2020,
    arXiv:2002.06224).

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z ~ N(0, I).
        keep: Share of a batch's samples that is learned from, in (0, 1].
        **kwargs: All other arguments of ``GAN``.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 128, keep: float = 0.5, **kwargs: Any) -> None:
        super().__init__(image_shape, latent_dim, **kwargs)
        if not 0 < keep <= 1:
            raise ValueError(f"keep={keep}: a share of the samples in (0, 1]")
        self.keep = keep

    def generator_game(self, judge: Judge, real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G of the ⌈keep · N⌉ generated images with the highest scores."""
        scores = judge(fake)
        loss = self.loss.generator(scores.topk(math.ceil(self.keep * len(scores))).values)
        return loss, {"generator_loss": loss}
