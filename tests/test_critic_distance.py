import math

import pytest
import torch

from lit_gen.losses import GradientPenalty, WeightClip
from lit_gen.metrics import wasserstein


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("experiments/critic_distance.py")


def test_a_penalised_critic_overshoots_by_what_theory_says(script):
    # Between lines θ apart a critic of slope s gains sθ and pays λ(s − 1)²: the best slope is 1 + θ/2λ.
    real, fake = script.lines(2.0, torch.Generator().manual_seed(0))
    gap, slope = script.dual_estimate(GradientPenalty(10.0), real, fake, steps=200)
    assert slope == pytest.approx(1.1, rel=0.02)
    assert gap / slope == pytest.approx(wasserstein(real, fake).item(), rel=0.02)


def test_a_clipped_critic_has_a_slope_of_its_own(script):
    real, fake = script.lines(2.0, torch.Generator().manual_seed(0))
    gap, slope = script.dual_estimate(WeightClip(0.1), real, fake, steps=200)
    assert slope > 2
    assert gap / slope == pytest.approx(wasserstein(real, fake).item(), rel=0.1)


def test_divergences_of_the_pairs(script):
    assert script.lines_divergence(0.1) == pytest.approx(math.log(2))
    assert script.ring_divergence(1.0) == pytest.approx(math.log(2), abs=1e-6)
    assert 0.1 < script.ring_divergence(0.1) < 0.6
