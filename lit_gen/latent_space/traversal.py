"""Images along a direction of latent space."""

import torch
from torch import Tensor

from lit_gen.latent_space.inversion import decoded
from lit_gen.models import LatentVariableModel


def traverse(
    model: LatentVariableModel, latents: Tensor, direction: Tensor, strengths: Tensor, *labels: Tensor
) -> Tensor:
    """Images at z + s d for each latent and strength, ``(N, S, *image_shape)`` in [-1, 1].

    Args:
        model: A model of latent vectors.
        latents: z, ``(N, latent_dim)``.
        direction: d, ``(latent_dim,)``, or one for each latent, ``(N, latent_dim)``.
        strengths: s, ``(S,)``.
        *labels: ``(N,)`` of a conditional model.
    """
    latents = latents.to(model.device, model.dtype)
    d = direction.to(latents).expand_as(latents)
    z = latents[:, None] + strengths.to(latents)[:, None] * d[:, None]
    images = decoded(model, z.flatten(0, 1), *(y.repeat_interleave(len(strengths)) for y in labels))
    return images.unflatten(0, (len(latents), len(strengths)))


def sheet(
    model: LatentVariableModel, latents: Tensor, directions: Tensor, strengths: Tensor, *labels: Tensor
) -> Tensor:
    """Images ``(K N S, *image_shape)``, K directions after each other, of each the N latents, a row of S each.

    Args:
        model: A model of latent vectors.
        latents: ``(N, latent_dim)``.
        directions: ``(K, latent_dim)``.
        strengths: ``(S,)``.
        *labels: ``(N,)`` of a conditional model.
    """
    rows = [traverse(model, latents, direction, strengths, *labels).flatten(0, 1) for direction in directions]
    return torch.cat(rows)
