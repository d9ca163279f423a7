"""The autoencoder whose latents or codes a model models: how what it draws becomes pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_gen.encoded import Encoded

if TYPE_CHECKING:
    from lit_gen.models.autoencoding import AutoencodingModel


class Codec:
    """A trained autoencoder, frozen and in eval mode: no part of the model that carries it, nor of its weights.

    Args:
        model: The autoencoder.
        encoded: What it is, and the scale that its latents are brought to.

    Raises:
        ValueError: for an autoencoder that doesn't decode such latents or codes.
    """

    def __init__(self, model: AutoencodingModel, encoded: Encoded) -> None:
        codes = encoded.kind == "codes"
        if (encoded.shape, encoded.image_shape) != (model.latent_shape[codes:], model.image_shape) or (
            codes and encoded.codes != model.quantizer.codes
        ):
            raise ValueError(
                f"{encoded.kind} of shape {encoded.shape} for images {encoded.image_shape}: not those of the "
                f"{type(model).__name__} in {encoded.folder}, {model.latent_shape} for {model.image_shape}"
            )
        self.model = model.requires_grad_(False).eval()
        self.encoded = encoded

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of the pictures."""
        return self.encoded.image_shape

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """What a model models of images ``(N, C, H, W)`` in [-1, 1]: normalised latents, or codes' numbers."""
        model = self.model.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            if self.encoded.kind == "codes":
                return model.indices(images)
            latents = model.encode(images)
        mean, std = self._scale(latents)
        return (latents - mean) / std

    def decode(self, x: Tensor) -> Tensor:
        """The pictures ``(N, C, H, W)`` in [-1, 1], in the codec's precision, of what a model draws; differentiable.

        Args:
            x: Normalised latents ``(N, C, h, w)``, or int64 codes ``(N, h, w)``.

        Raises:
            ValueError: for another shape, or numbers that are no codes.
        """
        model = self.model.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            return model.decode_indices(x) if self.encoded.kind == "codes" else model.from_latents(self.latents(x))

    def latents(self, x: Tensor) -> Tensor:
        """The codec's own latents of normalised ones, in its precision."""
        x = x.to(self.model.dtype)
        mean, std = self._scale(x)
        return x * std + mean

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (like.new_tensor(values).view(-1, 1, 1) for values in (self.encoded.mean, self.encoded.std))
        return mean, std


def check_indices(indices: Tensor, size: tuple[int, ...], codes: int) -> None:
    """See that these are numbers of codes.

    Args:
        indices: ``(N, h, w)``.
        size: ``(h, w)``.
        codes: How many there are.

    Raises:
        ValueError: for numbers of another shape or type, or out of range.
    """
    if indices.shape[1:] != size or indices.is_floating_point():
        raise ValueError(f"indices {indices.dtype} {tuple(indices.shape)}: whole numbers (N, {size[0]}, {size[1]})")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < codes:
        raise ValueError(f"indices from {int(indices.min())} to {int(indices.max())}: codes are 0 to {codes - 1}")
