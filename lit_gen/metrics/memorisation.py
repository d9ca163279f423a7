"""Fréchet distance that memorised samples make worse (MiFID; Bai et al. 2021, arXiv:2106.03062)."""

import torch
from torch import Tensor

from lit_gen.metrics.frechet import frechet_of_moments
from lit_gen.metrics.moments import Moments
from lit_gen.precision import to_float64

THRESHOLD = 0.1  # memorisation distance from which samples count as new
SMALLEST = 1e-14  # added to it, so that copies have a finite score
BLOCK = 1024


def memorisation_distance(samples: Tensor, real: Tensor) -> float:
    """Mean over the samples of 1 − |cos| to the nearest datum: 0 for copies, whichever data they leave out.

    The direction matters: the mean over the data of the distance to their nearest sample, as torchmetrics 1.9 takes it,
    doesn't see a model that draws one datum again and again. Rows of zeros, which have no direction, are left out.

    Args:
        samples: features ``(N, D)``.
        real: the training data's features ``(M, D)``.

    Raises:
        ValueError: no rows but zeros on a side.
    """
    sides = [to_float64(rows) for rows in (samples, real)]
    rows, others = (side[side.norm(dim=1) > 0] for side in sides)
    if min(len(rows), len(others)) == 0:
        raise ValueError(
            f"mifd of {len(rows)} samples and {len(others)} data that are not 0: at least 1 of each needed"
        )
    rows, others = (side / side.norm(dim=1, keepdim=True) for side in (rows, others))
    nearest = [1 - (block @ others.T).abs().amax(1) for block in rows.split(BLOCK)]
    return float(torch.cat(nearest).mean().clamp(min=0))


def memorisation_informed(samples: Tensor, real: Tensor, of_samples: Moments, of_real: Moments) -> float:
    """FD / (m + 1e-14), with m the memorisation distance below 0.1, and 1 from there on; 0 where FD is.

    Args:
        samples: features ``(N, D)``.
        real: the data's features ``(M, D)``.
        of_samples: the samples' moments.
        of_real: the data's moments.
    """
    distance = float(frechet_of_moments(of_samples, of_real))
    memorised = memorisation_distance(samples, real)
    penalty = memorised if memorised < THRESHOLD else 1.0
    return distance / (penalty + SMALLEST) if distance > 1e-8 else 0.0
