import math

import pytest
import torch
from torch import nn

from lit_gen.metrics.likelihood.information import layer_information
from lit_gen.networks import BottomUp, Ladder, TopDown

# z_2 ~ N(0, 1), z_1 = a z_2 + s ε, x = w z_1 + r ε: all are jointly Gaussian, and I = −½ log(1 − ρ²).
A, S, W, R = 1.3, 0.6, 1.6, 0.5
VARIANCE_1 = A**2 + S**2
VARIANCE_X = W**2 * VARIANCE_1 + R**2


def gaussian_information(correlation):
    return -0.5 * math.log(1 - correlation**2)


class Affine(nn.Module):
    def __init__(self, slope, scale):
        super().__init__()
        self.slope, self.scale = slope, scale

    def forward(self, x):
        return self.slope * x, torch.full_like(x, math.log(self.scale))


def linear_gaussian(cls):
    hierarchy = cls((1,), (1,), (1, 1), (2, 2))
    hierarchy.layers[0].prior = Affine(A, S)
    if cls is BottomUp:
        precision = 1 / VARIANCE_1 + W**2 / R**2
        hierarchy.recognition[0] = Affine(W / R**2 / precision, precision**-0.5)
        precision = 1 + A**2 / S**2
        hierarchy.recognition[1] = Affine(A / S**2 / precision, precision**-0.5)
    else:
        hierarchy.climb = lambda x: [x[None], x[None]]
        hierarchy.evidences[0] = Affine(1 / W, R / W)
        noise = W**2 * S**2 + R**2
        precision = 1 + (W * A) ** 2 / noise
        hierarchy.evidences[1] = Affine(W * A / noise / precision, precision**-0.5)
    return hierarchy.double()


@pytest.mark.parametrize("cls", [BottomUp, Ladder])
def test_true_posteriors_of_gaussians_know_what_the_correlation_says(cls):
    generator = torch.Generator().manual_seed(0)
    x = VARIANCE_X**0.5 * torch.randn(1500, 1, dtype=torch.float64, generator=generator)
    first, second = layer_information(linear_gaussian(cls), x, 200, generator)
    assert first == pytest.approx(gaussian_information(W * VARIANCE_1**0.5 / VARIANCE_X**0.5), abs=0.08)
    assert second == pytest.approx(gaussian_information(W * A / VARIANCE_X**0.5), abs=0.08)
    assert first - second > 0.15


@pytest.mark.parametrize("cls", [BottomUp, Ladder, TopDown])
def test_posteriors_without_the_image_know_nothing_and_sharp_ones_all(cls):
    torch.manual_seed(0)
    hierarchy = cls((1, 4, 4), (1, 4, 4), (3, 2), (5, 4)).double().eval()
    for parameter in hierarchy.parameters():
        if not parameter.any():  # a top-down posterior begins at the prior
            nn.init.normal_(parameter, std=0.3)
    x = torch.rand(40, 1, 4, 4, dtype=torch.float64)
    same = layer_information(hierarchy, x[:1].expand_as(x), 30)
    assert same == pytest.approx([0, 0], abs=0.1 if cls is BottomUp else 1e-9)
    with torch.no_grad():
        for parameter in hierarchy.parameters():
            parameter.mul_(3)
    information = layer_information(hierarchy, x, 30)
    assert math.log(40) + 1e-9 > information[0] > 0.5
