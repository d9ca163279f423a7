"""MiFID, beside torchmetrics with its sides the right way round, and the Vendi score."""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance

from lit_gen.metrics import Moments, frechet_of_moments
from lit_gen.metrics.memorisation import memorisation_distance, memorisation_informed
from lit_gen.metrics.vendi import vendi_score


class Rows(nn.Module):
    """Images (N, 1, 1, D) are their own features."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def rows(count: int, seed: int, scale: float = 1, shift: float = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, dtype=torch.float64, generator=generator) * scale + shift


def informed(samples: torch.Tensor, real: torch.Tensor) -> float:
    return memorisation_informed(samples, real, Moments.of_rows(samples), Moments.of_rows(real))


@pytest.mark.filterwarnings("ignore")
def test_torchmetrics_with_its_sides_exchanged():
    """FD is symmetric and the memorisation distance is not: given as its real images, the samples come first."""
    samples, real = rows(80, 0, 0.9, 1.2), rows(60, 1, shift=1)
    values = []
    for first, second in ((samples, real), (real, samples)):
        theirs = MemorizationInformedFrechetInceptionDistance(Rows()).set_dtype(torch.float64)
        theirs.update(first[:, None, None], real=True)
        theirs.update(second[:, None, None], real=False)
        values.append(float(theirs.compute()))
    assert memorisation_distance(samples, real) < 0.1
    assert informed(samples, real) == pytest.approx(values[0], rel=1e-6)
    assert values[1] != pytest.approx(values[0], rel=1e-2)


def test_the_distance_by_brute_force():
    samples, real = rows(30, 0), rows(20, 1)
    samples[3] = 0  # has no direction
    moved = [x for x in samples if x.any()]
    expected = [min(1 - abs(float(x @ y / (x.norm() * y.norm()))) for y in real) for x in moved]
    assert memorisation_distance(samples, real) == pytest.approx(np.mean(expected), rel=1e-12)


def test_one_datum_drawn_again_and_again_is_memorised():
    """As copies of all data are, though most data have no sample near them."""
    real = rows(500, 0, shift=3)
    new = memorisation_distance(rows(500, 1, shift=3), real)
    assert memorisation_distance(real[:1].expand(500, -1) * 2, real) == pytest.approx(0, abs=1e-12)
    assert new > 1e-4
    noisy = real[:5].repeat(100, 1) + 1e-3 * rows(500, 2)
    assert informed(noisy, real) > 100 * informed(rows(500, 1, shift=3), real)
    assert informed(real, real) == 0


def test_the_penalty_ends_at_the_threshold():
    axes = torch.eye(6, dtype=torch.float64)
    samples = torch.cat([axes[:3], axes[:3] * 2])
    real = torch.cat([axes[3:], axes[3:] * 3])
    assert memorisation_distance(samples, real) == 1
    distance = frechet_of_moments(Moments.of_rows(samples), Moments.of_rows(real))
    assert informed(samples, real) == pytest.approx(float(distance), rel=1e-9)


def test_vendi_by_the_definition():
    """exp of the entropy of K / n, K written out; and what it is of equal and of orthogonal rows."""
    for count in (4, 50):
        x = rows(count, 0)
        unit = (x / x.norm(dim=1, keepdim=True)).numpy()
        values = np.linalg.eigvalsh(unit @ unit.T / count)
        values = values[values > 1e-14]
        assert vendi_score(x) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-9)
    assert vendi_score(torch.ones(9, 5)) == pytest.approx(1)
    assert vendi_score(torch.eye(6).repeat(4, 1)) == pytest.approx(6)
    assert vendi_score(torch.zeros(7, 3)) == pytest.approx(7)
