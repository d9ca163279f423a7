import math

import pytest
import torch

from lit_gen.precision import at_least_float32, float32_or_better, logsumexp


@float32_or_better
def product(a, b, scale=1.0):
    return scale * (a @ b)


def test_low_precision_is_raised_and_double_stays():
    for given, expected in [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        assert at_least_float32(torch.ones(2, dtype=given)).dtype == expected
    assert at_least_float32("text") == "text"


def test_autocast_is_off_inside():
    a, b = torch.randn(8, 8), torch.randn(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ b).dtype == torch.bfloat16
        torch.testing.assert_close(product(a, b=b), (a.double() @ b.double()).float())


def test_gradients_return_in_the_callers_precision():
    a = torch.randn(3, 3).bfloat16().requires_grad_()
    product(a, torch.eye(3), scale=2.0).sum().backward()
    assert a.grad.dtype == torch.bfloat16
    assert a.grad.float() == pytest.approx(2.0)


@pytest.mark.parametrize("offset", [0.0, -3e4, 1e6])
def test_the_gradient_of_logsumexp_is_the_softmax_far_from_zero_too(offset):
    torch.manual_seed(0)
    x = (torch.randn(5, 7) + offset).requires_grad_()
    exact = x.detach().double().requires_grad_()
    weights = torch.rand(7)
    (logsumexp(x, 0) * weights).sum().backward()
    torch.testing.assert_close(logsumexp(x, 0).double(), torch.logsumexp(exact, 0), rtol=1e-6, atol=1e-6)
    expected = torch.softmax(exact.detach(), 0) * weights
    torch.testing.assert_close(x.grad.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(x.grad.sum(0), weights, rtol=1e-5, atol=0)


def test_logsumexp_of_infinite_values():
    x = torch.tensor([[-math.inf, 0.0, math.inf], [-math.inf, -math.inf, 1.0]])
    assert torch.equal(logsumexp(x, 0), torch.logsumexp(x, 0))
