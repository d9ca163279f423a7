import pytest
import torch

from lit_gen.precision import at_least_float32, float32_or_better


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
