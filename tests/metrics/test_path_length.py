"""Perceptual path length: closed forms, torchmetrics at its own protocol, StyleGAN's outliers."""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.image import perceptual_path_length as theirs

from lit_gen.metrics.path_length import _without_outliers, feature_distance, perceptual_path_length, sphere

WEIGHT = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def draw(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(count, 5, dtype=torch.float64, generator=generator)


def squared(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return (images - others).flatten(1).square().sum(1)


def test_of_a_linear_generator_it_is_the_squared_length_of_the_paths():
    """Straight paths: |W (z₂ − z₁)|², wherever t is, without the outer hundredths."""
    for sampling in ("full", "end"):
        found = perceptual_path_length(
            lambda z: z @ WEIGHT.T, draw, squared, num_samples=300, space="line", sampling=sampling, batch_size=300
        )
        generator = torch.Generator().manual_seed(0)
        first, second = draw(300, generator), draw(300, generator)
        lengths = ((second - first) @ WEIGHT.T).square().sum(1).numpy()
        low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
        kept = lengths[(lengths >= low) & (lengths <= high)]
        assert found["path_length"] == pytest.approx(kept.mean(), rel=1e-6)
        assert found["path_length_std"] == pytest.approx(kept.std(), rel=1e-6)


def test_outliers_are_stylegan_s():
    for count in (2, 10, 99, 100, 101, 1000):
        values = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count)) ** 8
        x = values.numpy()
        low, high = np.percentile(x, 1, method="lower"), np.percentile(x, 99, method="higher")
        kept = x[(x >= low) & (x <= high)]
        assert _without_outliers(values)["path_length"] == pytest.approx(kept.mean(), rel=1e-12)


def test_a_great_circle_is_gone_at_the_speed_of_its_angle():
    """Of unit latents: |at(t + ε) − at(t)|² / ε² is the squared angle; ends are ends, and lengths go straight."""
    generator = torch.Generator().manual_seed(0)
    first, second = draw(50, generator), draw(50, generator)
    ends = [sphere(first, second, torch.full((50, 1), t, dtype=torch.float64)) for t in (0.0, 1.0, 0.5)]
    torch.testing.assert_close(ends[0], first)
    torch.testing.assert_close(ends[1], second)
    torch.testing.assert_close(ends[2].norm(dim=1), (first.norm(dim=1) + second.norm(dim=1)) / 2)
    one, two = first / first.norm(dim=1, keepdim=True), second / second.norm(dim=1, keepdim=True)
    step = sphere(one, two, torch.full((50, 1), 0.3 + 1e-4, dtype=torch.float64)) - sphere(
        one, two, torch.full((50, 1), 0.3, dtype=torch.float64)
    )
    angle = (one * two).sum(1).acos()
    torch.testing.assert_close(step.norm(dim=1) / 1e-4, angle, rtol=1e-6, atol=1e-6)


class Model(nn.Module):
    def __init__(self, latents: list[torch.Tensor]) -> None:
        super().__init__()
        self.latents = list(latents)

    def sample(self, num_samples: int) -> torch.Tensor:
        return self.latents.pop(0)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 127.5 * ((z @ WEIGHT.T).tanh()[:, None, None] + 1)


class Distance(nn.Module):
    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return squared(images, others)


def test_torchmetrics():
    """At its protocol: t = 0, nothing left out."""
    generator = torch.Generator().manual_seed(0)
    latents = [draw(40, generator), draw(40, generator)]
    _, _, distances = theirs(
        Model(latents), num_samples=40, interpolation_method="lerp", resize=None, lower_discard=None,
        upper_discard=None, sim_net=Distance(),
    )  # fmt: skip
    ours = perceptual_path_length(
        lambda z: (z @ WEIGHT.T).tanh()[:, None, None], draw, squared, num_samples=40, space="line", sampling="end"
    )
    ordered = distances.sort().values  # of 40 paths none lies outside of the percentiles' neighbours
    assert ours["path_length"] == pytest.approx(float(ordered.mean()), rel=1e-6)


def test_features_and_options():
    distance = feature_distance(lambda images: 2 * images)
    assert distance(torch.ones(3, 4), torch.zeros(3, 4)).tolist() == [16.0] * 3
    for options in ({"space": "cube"}, {"sampling": "mid"}, {"epsilon": 0}, {"num_samples": 1}):
        with pytest.raises(ValueError, match="="):
            perceptual_path_length(lambda z: z, draw, distance, **options)
