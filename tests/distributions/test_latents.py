import math

import pytest
import torch

from lit_gen.distributions.latents import lerp, slerp, truncated_normal

A, B = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("path", [lerp, slerp])
def test_paths_go_from_the_first_to_the_second(path):
    torch.testing.assert_close(path(A, B, 0.0), A)
    torch.testing.assert_close(path(A, B, 1.0), B)
    torch.testing.assert_close(path(A, B, 0.25), path(B, A, 0.75))
    places = torch.linspace(0, 1, 7, dtype=torch.float64)
    one_by_one = [path(a, b, float(t)) for a, b, t in zip(A, B, places, strict=True)]
    torch.testing.assert_close(path(A, B, places), torch.stack(one_by_one))
    grid = path(A[0], B[0], torch.linspace(0, 1, 9))
    assert grid.shape == (9, 5)
    assert path(A.bfloat16(), B.bfloat16(), 0.5).dtype == torch.bfloat16


def test_the_line():
    torch.testing.assert_close(lerp(A, B, 0.3), 0.7 * A + 0.3 * B)


def test_the_circle_keeps_the_length_and_turns_evenly():
    a, b = A / A.norm(dim=1, keepdim=True), B / B.norm(dim=1, keepdim=True)
    whole = torch.acos((a * b).sum(1))
    for t in (0.1, 0.5, 0.8):
        x = slerp(3 * a, 3 * b, t)
        torch.testing.assert_close(x.norm(dim=1), torch.full((7,), 3.0).double())
        torch.testing.assert_close(torch.acos((x * a).sum(1) / 3), t * whole)
    quarter = slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), 1 / 3)
    torch.testing.assert_close(quarter, torch.tensor([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]))


def test_the_circle_is_the_line_where_it_is_not_unique():
    for b in (A, 2 * A, -A, torch.zeros_like(A), A + 1e-9):
        torch.testing.assert_close(slerp(A, b, 0.3), lerp(A, b, 0.3))
    nearly = slerp(A.float(), A.float() + 1e-3, 0.5)
    torch.testing.assert_close(nearly, A.float() + 5e-4, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("truncation", [0.3, 1.0, 2.0])
def test_truncated_normals_have_the_moments_of_their_density(truncation):
    z = truncated_normal(50_000, 4, truncation, torch.Generator().manual_seed(0))
    assert z.shape == (50_000, 4)
    assert z.dtype == torch.float32
    assert z.abs().max() <= truncation
    density = math.exp(-(truncation**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * truncation * density / math.erf(truncation / math.sqrt(2))
    assert z.mean().item() == pytest.approx(0, abs=0.01)
    assert z.var().item() == pytest.approx(variance, rel=0.02)
    inside = math.erf(truncation / 2 / math.sqrt(2)) / math.erf(truncation / math.sqrt(2))
    assert (z.abs() < truncation / 2).float().mean().item() == pytest.approx(inside, abs=0.01)


def test_a_wide_truncation_is_the_normal_distribution_and_seeds_repeat():
    z = truncated_normal(50_000, 2, 60.0, torch.Generator().manual_seed(0))
    assert z.isfinite().all()
    assert z.std().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(z, truncated_normal(50_000, 2, 60.0, torch.Generator().manual_seed(0)))
    assert truncated_normal(0, 3, 1.0).shape == (0, 3)


def test_wrong_requests_are_named():
    with pytest.raises(ValueError, match="n=-1"):
        truncated_normal(-1, 2, 1.0)
    for truncation in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"truncation={truncation}"):
            truncated_normal(1, 2, truncation)
