"""Perceptual path length: how far samples move for a small step in the latent space (arXiv:1812.04948, section 4.1)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lit_gen.precision import to_float64

Space = Literal["sphere", "line"]
Sampling = Literal["full", "end"]


def perceptual_path_length(
    generate: Callable[[Tensor], Tensor],
    draw: Callable[[int, torch.Generator], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    *,
    num_samples: int = 10_000,
    space: Space = "sphere",
    sampling: Sampling = "full",
    epsilon: float = 1e-4,
    batch_size: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """The mean of d(G(at(t)), G(at(t + ε))) / ε² over paths between pairs of latents, without outliers.

    The paths go along great circles (``sphere``, for Z) or straight (``line``, for W), t is uniform in [0, 1]
    (``full``) or 0 (``end``). As StyleGAN does it the least and the largest hundredth are left out: what lies below the
    lower neighbour of the first percentile, or above the upper one of the 99th. Numbers compare for one distance alone.

    Args:
        generate: images of latents ``(N, D)``.
        draw: that many latents.
        distance: of images from others, ``(N,)``, a square (twice as far is four times as much), as LPIPS is or
            `feature_distance` of an extractor.
        num_samples: paths.
        space: how latents are interpolated.
        sampling: where on the paths.
        epsilon: the step.
        batch_size: paths at once.
        seed: of latents and places.

    Returns:
        ``path_length`` and ``path_length_std``, of the distances that are not left out.

    Raises:
        ValueError: an option that isn't accepted.
    """
    if space not in ("sphere", "line") or sampling not in ("full", "end"):
        raise ValueError(f"space={space!r}, sampling={sampling!r}: 'sphere' or 'line', and 'full' or 'end'")
    if num_samples < 2 or batch_size < 1 or not 0 < epsilon < 1:
        raise ValueError(
            f"num_samples={num_samples}, batch_size={batch_size}, epsilon={epsilon}: at least 2, at least 1, in (0, 1)"
        )
    generator = torch.Generator().manual_seed(seed)
    between = sphere if space == "sphere" else torch.lerp
    distances = []
    with torch.no_grad():
        for start in range(0, num_samples, batch_size):
            count = min(batch_size, num_samples - start)
            first, second = draw(count, generator), draw(count, generator)
            at = torch.rand(count, 1, generator=generator).to(first) * (sampling == "full")
            images = [generate(between(first, second, t)) for t in (at, at + epsilon)]
            distances.append(distance(images[0], images[1]).cpu().double() / epsilon**2)
    return _without_outliers(torch.cat(distances))


def sphere(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Points at ``at`` ``(N, 1)`` of the great circles between the directions of latents ``(N, D)``.

    Their lengths go straight from one to the other's: StyleGAN scales them to 1, which its mapping does in any case,
    and which other generators have never seen.
    """
    own, other = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    first, second = first / own, second / other
    cosine = (first * second).sum(1, keepdim=True)
    across = second - cosine * first
    across = across / across.norm(dim=1, keepdim=True)
    angle = at * cosine.clamp(-1, 1).acos()
    return torch.lerp(own, other, at) * (first * angle.cos() + across * angle.sin())


def feature_distance(extract: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The squared distance of images' features, ``(N,)``.

    Args:
        extract: features ``(N, D)`` of images, such as an extractor.
    """
    return lambda images, others: (to_float64(extract(images)) - to_float64(extract(others))).square().sum(1)


def _without_outliers(distances: Tensor) -> dict[str, float]:
    ordered, last = distances.sort().values, len(distances) - 1
    low, high = ordered[math.floor(0.01 * last)], ordered[math.ceil(0.99 * last)]
    kept = ordered[(ordered >= low) & (ordered <= high)]
    return {"path_length": float(kept.mean()), "path_length_std": float(kept.std(correction=0))}
