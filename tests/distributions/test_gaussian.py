import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lit_gen.distributions import (
    bound_log_scale,
    kl_normal,
    kl_standard_normal,
    normal_log_prob,
    reparametrise,
)


def gaussians(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, dtype=dtype, generator=generator) for _ in range(4)]


def test_kl_equals_torch_distributions_per_dimension():
    mean_q, log_q, mean_p, log_p = gaussians(7, 5)
    q, p = Normal(mean_q, log_q.exp()), Normal(mean_p, log_p.exp())
    torch.testing.assert_close(kl_normal(mean_q, log_q, mean_p, log_p), kl_divergence(q, p))
    torch.testing.assert_close(kl_standard_normal(mean_q, log_q), kl_divergence(q, Normal(0.0, 1.0)))
    assert kl_standard_normal(mean_q, log_q).shape == (7, 5)


def test_kl_equals_its_integral():
    mean_q, log_q, mean_p, log_p = (torch.tensor(v, dtype=torch.float64) for v in (0.3, -0.7, -1.1, 0.4))
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    q, p = normal_log_prob(x, mean_q, log_q), normal_log_prob(x, mean_p, log_p)
    integral = torch.trapezoid(q.exp() * (q - p), x)
    torch.testing.assert_close(kl_normal(mean_q, log_q, mean_p, log_p), integral)


def test_kl_is_zero_at_equality_and_unchanged_by_an_affine_map():
    mean_q, log_q, mean_p, log_p = gaussians(50)
    assert torch.count_nonzero(kl_normal(mean_q, log_q, mean_q, log_q)) == 0
    moved = kl_normal(3 * mean_q - 2, log_q + math.log(3), 3 * mean_p - 2, log_p + math.log(3))
    torch.testing.assert_close(moved, kl_normal(mean_q, log_q, mean_p, log_p))
    torch.testing.assert_close(
        kl_normal(mean_q, log_q, torch.zeros(()), torch.zeros(())), kl_standard_normal(mean_q, log_q)
    )


def test_kl_gradient_is_closed_form():
    mean, log_scale, _, _ = gaussians(20)
    mean.requires_grad_()
    log_scale.requires_grad_()
    kl_standard_normal(mean, log_scale).sum().backward()
    torch.testing.assert_close(mean.grad, mean.detach())
    torch.testing.assert_close(log_scale.grad, log_scale.detach().mul(2).exp() - 1)


def test_kl_keeps_its_digits_and_sign_near_collapse_in_float32():
    log_scale = torch.linspace(-2e-3, 2e-3, 20_001)
    exact = 0.5 * (torch.expm1(2 * log_scale.double()) - 2 * log_scale.double())
    kl = kl_standard_normal(torch.zeros_like(log_scale), log_scale)
    assert kl.min() >= 0
    assert (kl.double() - exact).abs().max() < 1e-9  # ½(σ² − 1 − log σ²) in float32 is 3e-8 off


def test_kl_of_a_collapsed_bfloat16_posterior_is_positive_and_right():
    generator = torch.Generator().manual_seed(0)
    mean = (0.0124 * torch.randn(1, 32, generator=generator)).bfloat16()
    log_scale = (0.0061 * torch.randn(1, 32, generator=generator)).bfloat16()
    exact = kl_divergence(Normal(mean.double(), log_scale.double().exp()), Normal(0.0, 1.0)).sum()
    assert 0.003 < exact < 0.006
    with torch.autocast("cpu", torch.bfloat16):
        kl = kl_standard_normal(mean, log_scale)
        assert kl.dtype == torch.float32
        assert kl.sum().item() == pytest.approx(exact.item(), rel=1e-4)
    naive = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
    assert abs(naive.item() - exact) > 0.1 * exact


def test_log_density_equals_torch_distributions():
    x, mean, log_scale, _ = gaussians(6, 4)
    torch.testing.assert_close(normal_log_prob(x, mean, log_scale), Normal(mean, log_scale.exp()).log_prob(x))


def test_reparametrisation_is_affine_in_the_noise_and_carries_gradients():
    mean, log_scale, noise, _ = gaussians(9, 3)
    mean.requires_grad_()
    log_scale.requires_grad_()
    z = reparametrise(mean, log_scale, noise)
    torch.testing.assert_close((z - mean) / log_scale.exp(), noise)
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(log_scale.grad, (noise * log_scale.exp()).detach())


def test_a_sample_keeps_a_scale_below_the_resolution_of_a_bfloat16_mean():
    z = reparametrise(torch.full((1, 1), 3.0).bfloat16(), torch.tensor([[-8.0]]), torch.ones(1, 1))
    assert z.item() - 3 == pytest.approx(math.exp(-8), rel=1e-3)
    low = [torch.full((1, 1), value).bfloat16() for value in (3.0, -8.0, 1.0)]
    assert reparametrise(*low).item() - 3 == pytest.approx(math.exp(-8), rel=1e-3)


def test_bound_is_the_identity_over_the_working_range():
    raw = torch.linspace(-8, 8, 1001)
    assert torch.equal(bound_log_scale(raw), raw)


def test_bound_is_odd_increasing_and_bounded():
    raw = torch.logspace(-3, 4, 500)
    bounded = bound_log_scale(raw)
    assert (bounded.diff() > 0).all()
    assert bounded.max() < 12
    assert torch.equal(bound_log_scale(-raw), -bounded)
    extreme = bound_log_scale(torch.tensor([1e30, -1e30, math.inf, -math.inf]))
    assert extreme.tolist() == [12.0, -12.0, 12.0, -12.0]


def test_bound_has_the_rational_form_it_documents():
    raw = torch.linspace(8, 500, 100, dtype=torch.float64)
    torch.testing.assert_close(bound_log_scale(raw), 8 + (raw - 8) / (1 + (raw - 8) / 4))


def test_bound_gradient_is_its_finite_difference_and_continuous_at_the_edge():
    raw = torch.tensor([-30.0, -8.01, -7.99, 0.0, 3.0, 7.999, 8.001, 8.5, 20.0, 900.0], dtype=torch.float64)
    raw.requires_grad_()
    bound_log_scale(raw).sum().backward()
    h = 1e-5
    with torch.no_grad():
        difference = (bound_log_scale(raw + h) - bound_log_scale(raw - h)) / (2 * h)
    torch.testing.assert_close(raw.grad, difference, rtol=1e-6, atol=1e-8)
    edge = torch.tensor([-8.0, 8.0, 8 + 1e-9, 8 - 1e-9], dtype=torch.float64, requires_grad=True)
    bound_log_scale(edge).sum().backward()
    torch.testing.assert_close(edge.grad, torch.ones_like(edge))


def test_bound_has_a_float32_gradient_far_outside():
    raw = torch.tensor([-1e4, -100.0, 100.0, 1e4], requires_grad=True)
    bound_log_scale(raw).sum().backward()
    expected = (4 / (4 + raw.detach().abs() - 8)) ** 2
    torch.testing.assert_close(raw.grad, expected, rtol=1e-4, atol=0)


def test_bound_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert bound_log_scale(torch.zeros(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert bound_log_scale(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64
