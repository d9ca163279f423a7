"""What the layers of a hierarchy know of the image."""

import math

import torch
from torch import Tensor

from lit_gen.distributions import normal_log_prob
from lit_gen.networks import BottomUp, Hierarchy
from lit_gen.precision import to_float64

PAIRS = 2**14  # of a latent and an image, evaluated at once


@torch.no_grad()
def layer_information(
    hierarchy: Hierarchy, x: Tensor, samples: int = 100, generator: torch.Generator | None = None
) -> list[float]:
    """I_q(x; z_t, …, z_T) in nats for t = 1, …, T: what a layer and those above it tell of which image they came from.

    E log q(z_t, …, z_T | x) − log q(z_t, …, z_T), where the second density is the mean of the first over the N images,
    so that log N is the largest value. On a way down the first is the product of the layers' posteriors. In a chain
    inferred bottom-up it is that of z_t alone, as no layer above tells more; it has z_1, …, z_{t−1} integrated out by
    ``samples`` samples an image, which errs downwards.

    Args:
        hierarchy: In eval mode.
        x: What the likelihood models of N images, ``(N, *image_shape)``.
        samples: Of the layers below, for a chain.
        generator: Source of randomness on the CPU.
    """
    n = len(x)

    def noise(count: int) -> Tensor:
        return torch.randn(count, n, hierarchy.latent_dim, generator=generator).to(x)

    latents = [latent.z[0] for latent in hierarchy(noise(1), x)[1]]
    many = hierarchy(noise(samples), x)[1] if isinstance(hierarchy, BottomUp) else None
    rows = []
    for i in torch.arange(n).split(max(1, PAIRS // n)):
        drawn = [z[i] for z in latents]
        if many is not None:
            rows.append(torch.stack([_mixture(z, *latent.posterior) for z, latent in zip(drawn, many, strict=True)]))
            continue
        given = [z.unsqueeze(1).expand(-1, n, *z.shape[1:]) for z in drawn]
        layers = hierarchy(x.new_zeros(len(i), n, hierarchy.latent_dim), x, given)[1]
        densities = torch.stack([_log_density(layer.z, *layer.posterior) for layer in layers])
        rows.append(densities.flip(0).cumsum(0).flip(0))
    log_q = to_float64(torch.cat(rows, 1))  # (T, N, N): of image i's latents given image j
    own = log_q.diagonal(dim1=1, dim2=2)
    return (own - log_q.logsumexp(2) + math.log(n)).mean(1).tolist()


def _log_density(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return normal_log_prob(z, mean, log_scale).flatten(2).sum(2)


def _mixture(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log (1/S) Σ_s N(z_i; μ_sj, σ_sj²), ``(I, N)``, for z ``(I, *latent)`` and parameters ``(S, N, *latent)``."""
    of_each = [torch.logsumexp(_log_density(one, mean, log_scale), 0) for one in z[:, None, None]]
    return torch.stack(of_each) - math.log(len(mean))
