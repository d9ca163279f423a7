"""The Vendi score: how many different samples there are in effect (Friedman & Dieng 2022, arXiv:2210.02410)."""

import torch
from torch import Tensor

from lit_gen.precision import to_float64


def vendi_score(rows: Tensor) -> float:
    """exp(−Σ λ log λ) of the eigenvalues λ of K / n, K the cosines between rows: from 1, all alike, to n.

    Those of the smaller of Xᵀ X / n and X Xᵀ / n, X the rows of length 1, which have the same that are not 0.

    Args:
        rows: features ``(n, D)``, n ≥ 1; a row of zeros is like no other, and like itself.

    Raises:
        ValueError: no rows.
    """
    if len(rows) == 0:
        raise ValueError("vendi score of 0 rows: at least 1 is needed")
    rows = to_float64(rows)
    norms = rows.norm(dim=1, keepdim=True)
    zeros = int((norms == 0).sum())
    unit = (rows / norms)[norms[:, 0] > 0]
    product = unit.T @ unit if len(unit) > unit.shape[1] else unit @ unit.T
    values = torch.linalg.eigvalsh(product / len(rows)).clamp(min=0)
    entropy = -torch.special.xlogy(values, values).sum() + zeros / len(rows) * torch.tensor(float(len(rows))).log()
    return float(entropy.exp())
