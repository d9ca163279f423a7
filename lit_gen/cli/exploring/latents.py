"""Latents of a page: drawn, encoded, moved along axes, joined by paths, and the images that are made from them.

Sliders and paths need one space that samples and encoded images share: the z that ``decode`` takes, or for a
hierarchy, whose ``decode`` takes the top layer alone, all of its layers' noise.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lit_gen.distributions.latents import PATHS, truncated_normal
from lit_gen.latent_space import decoded
from lit_gen.models import HierarchicalVAE, LatentVariableModel

PathKind = Literal["spherical", "linear"]
MOST = 64  # pictures of a seed: as many as `lit-gen sample` draws by default, which makes them the same


@dataclass(frozen=True)
class Latents:
    """Points that images are made from.

    Attributes:
        z: ``(N, D)``.
        labels: Classes ``(N,)``; None for an unconditional model.
    """

    z: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, places: slice) -> "Latents":
        return Latents(self.z[places], None if self.labels is None else self.labels[places])


def draw(model: LatentVariableModel, seed: int, label: int | None = None, truncation: float = 0.0) -> Latents:
    """The 64 latents of a seed, those of ``lit-gen sample --seed`` with its options of the same names.

    Args:
        model: The model.
        seed: Of all of them.
        label: The class of all; None for random ones.
        truncation: Bound on the entries of the noise; 0 for none.
    """
    generator = torch.Generator().manual_seed(seed)
    if truncation:
        noise = truncated_normal(MOST, model.noise_dim, truncation, generator)
    else:
        noise = torch.randn(MOST, model.noise_dim, generator=generator)
    labels = model.classes(MOST, label, generator)
    return Latents(from_noise(model, noise), labels[0] if labels else None)


@torch.no_grad()
def from_noise(model: LatentVariableModel, noise: Tensor) -> Tensor:
    """z ``(N, D)`` on the CPU of samples from N(0, 1) ``(N, noise_dim)``."""
    if isinstance(model, HierarchicalVAE):
        return noise * model.temperature
    with model.evaluating():
        return model.latents(noise.to(model.device, model.dtype)).float().cpu()


def from_code(model: LatentVariableModel, code: Tensor) -> Tensor:
    """z ``(N, D)`` on the CPU of what the model's ``encode`` gives, ``(N, latent_dim)``: layers below are at 0."""
    below = code.new_zeros(len(code), model.noise_dim - model.latent_dim)
    return torch.cat([below, code], 1).float().cpu()


@torch.no_grad()
def images_of(model: LatentVariableModel, latents: Latents) -> Tensor:
    """Images ``(N, *picture_shape)`` in [-1, 1] on the CPU."""
    if isinstance(model, HierarchicalVAE):
        return model.generate(latents.z / model.temperature).float().cpu()
    return decoded(model, latents.z, *(() if latents.labels is None else (latents.labels,))).float().cpu()


def decode(model: LatentVariableModel, z: Tensor, *labels: Tensor) -> Tensor:
    """Images of z ``(N, D)`` on the model's device, with a gradient where one is asked for."""
    if isinstance(model, HierarchicalVAE):
        return model.from_noise(z / model.temperature)
    return model.pictures(model.decode(z, *labels))


def moved(start: Latents, axes: Tensor, amounts: list[float]) -> Latents:
    """The point z + Σ_k a_k v_k.

    Args:
        start: One point.
        axes: v, ``(K, D)``.
        amounts: a, K numbers.
    """
    return Latents(start.z + torch.tensor(amounts) @ axes, start.labels)


def traversal(start: Latents, axes: Tensor, amounts: Tensor) -> Latents:
    """For each of K axes ``(K, D)`` a row of the points z + a v for each amount ``(A,)``: K A points."""
    z = start.z + amounts[None, :, None] * axes[:, None]
    return Latents(z.flatten(0, 1), None if start.labels is None else start.labels.expand(z.shape[0] * z.shape[1]))


def path(start: Latents, end: Latents, kind: PathKind, places: Tensor) -> Latents:
    """Points between two, of the class of the first.

    Args:
        start: One point, at place 0.
        end: One point, at place 1.
        kind: Along a great circle or a straight line.
        places: ``(P,)``.
    """
    z = PATHS[kind](start.z, end.z, places)
    return Latents(z, None if start.labels is None else start.labels.expand(len(z)))


def arrays(latents: Latents, names: tuple[str, ...]) -> dict[str, Any]:
    """What a file of them holds, named as by ``lit-gen encode``."""
    labels = torch.zeros(len(latents), dtype=torch.int64) if latents.labels is None else latents.labels
    return {"latents": latents.z.numpy(), "labels": labels.numpy(), "class_names": np.array(names, dtype=str)}
