"""A generator and a discriminator: images from latents, and scores of images."""

from abc import ABC
from itertools import repeat

import torch
from torch import Tensor

from lit_gen.losses import Penalty
from lit_gen.models.judge import Judge
from lit_gen.models.sampling import SAMPLE_BATCH, LatentVariableModel
from lit_gen.networks import Discriminator, Generator
from lit_gen.networks.layers import batch_comparisons
from lit_gen.training.regularizers import Regularizer
from lit_gen.training.standing import StandingStatistics
from lit_gen.training.view import View


class AdversarialModel(LatentVariableModel, ABC):
    """A generator of z ~ N(0, I) and its discriminator.

    Attributes:
        view: What the discriminator sees of images.
        packed_shape: Shape of what it sees.
        auxiliary: Whether it also classifies.
        shared_pass: Whether real and generated images may share a pass through it.
        standing: Batch statistics for samples.
    """

    generator: Generator
    discriminator: Discriminator
    penalty: Penalty | None
    regularizer: Regularizer | None
    view: View
    packed_shape: tuple[int, ...]
    auxiliary: bool
    shared_pass: bool
    standing: StandingStatistics

    def judge(self, labels: Tensor | None = None) -> Judge:
        """The discriminator with these labels given."""
        return Judge(self.discriminator, labels, self.auxiliary, self.shared_pass)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """G(z), or G(z, y), of the averaged generator."""
        return self.standing(self.network("generator"))(z, *(() if labels is None else (labels,)))

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The discriminator's raw scores ``(N,)`` of images ``(N, *image_shape)`` in [-1, 1], in eval mode.

        With ``pack`` = m they are ``(N/m,)``, of image i with i + N/m, i + 2N/m, … A bounded number is scored at once,
        unless the discriminator compares the samples of a batch.

        Raises:
            ValueError: for labels that an unconditional model has no use for, or that aren't one for each image.
        """
        if (labels is not None) != self.conditional or (labels is not None and len(labels) != len(images)):
            given = "None" if labels is None else f"{len(labels)} of them"
            needed = f"one for each of the {len(images)} images" if self.conditional else "none, it is unconditional"
            raise ValueError(f"labels={given}: this {type(self).__name__} needs {needed}")
        x = self.view.packing.pack(images)
        size = max(1, len(x)) if batch_comparisons(self.discriminator) else SAMPLE_BATCH
        ys = repeat(None) if labels is None else labels.split(size)
        with self.evaluating():
            parts = [self._score(part, y) for part, y in zip(x.split(size), ys, strict=False)]
        return torch.cat(parts)

    def _score(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.judge(None if labels is None else labels.to(self.device))(self.as_input(x))
