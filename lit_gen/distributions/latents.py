"""Latents to sample from and paths between them, for generators of z ~ N(0, I)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_gen.precision import at_least_float32


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The straight line (1 − t) a + t b between latents `(*, D)`.

    Its middle lies nearer to the origin than almost all that the generator was trained on: see `slerp`.

    Args:
        a: latents at t = 0, `(*, D)`.
        b: latents at t = 1, of a shape that broadcasts with a's.
        t: places on the line, a number or `(*)`.
    """
    t = _places(a, t)
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The great circle [sin((1 − t)Ω) a + sin(tΩ) b] / sin Ω, Ω the angle between a and b.

    White 2016, arXiv:1609.04468, section 2.1. Between vectors of one length all others have it too. Where the
    angle is 0 or π to within 1e-4, or a vector is zero, the circle is a line or not unique, and this is `lerp`.

    Args:
        a: latents at t = 0, `(*, D)`.
        b: latents at t = 1, of a shape that broadcasts with a's.
        t: places on the circle, a number or `(*)`.
    """
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = at_least_float32(a), at_least_float32(b)
    places = _places(a, t)
    u, v = (x / x.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) for x in (a, b))
    # Kahan's form keeps its digits for small and for opposite angles, where acos loses half of them.
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    line = (angle < 1e-4) | (angle > math.pi - 1e-4) | ~(u.any(-1, keepdim=True) & v.any(-1, keepdim=True))
    angle = torch.where(line, 1.0, angle)
    circle = (((1 - places) * angle).sin() * a + (places * angle).sin() * b) / angle.sin()
    return torch.where(line, (1 - places) * a + places * b, circle).to(dtype)


def truncated_normal(n: int, latent_dim: int, truncation: float, generator: torch.Generator | None = None) -> Tensor:
    """z `(n, latent_dim)` float32 whose entries are N(0, 1) given that they lie in [−τ, τ].

    The truncation trick (Brock et al. 2019, arXiv:1809.11096, section 3.1): a smaller τ trades variety for
    fidelity. Drawn on the CPU by the quantile function in float64, where the paper draws again what falls out.

    Args:
        n: latents.
        latent_dim: dimension of each.
        truncation: τ.
        generator: source of randomness on the CPU.

    Raises:
        ValueError: for a negative n, or a truncation that is not positive and finite.
    """
    if n < 0:
        raise ValueError(f"n={n}: a number of latents can't be negative")
    if not 0 < truncation < math.inf:
        raise ValueError(f"truncation={truncation}: a positive, finite number")
    low = torch.special.ndtr(torch.tensor(-truncation, dtype=torch.float64))
    u = torch.rand(n, latent_dim, dtype=torch.float64, generator=generator)
    return torch.special.ndtri(low + (1 - 2 * low) * u).clamp(-truncation, truncation).float()


def _places(a: Tensor, t: float | Tensor) -> Tensor:
    """t with a last dimension of 1, in a's precision."""
    return torch.as_tensor(t, dtype=a.dtype, device=a.device).unsqueeze(-1)


PATHS = {"spherical": slerp, "linear": lerp}  # between two latents, by name
