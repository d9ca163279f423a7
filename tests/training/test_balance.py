"""The weight between an autoencoder's losses: the gradients that it compares, and the one backward pass."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lit_gen.networks import ConvDecoder, PatchGAN
from lit_gen.training.balance import gradient_ratio, last_layer_gradients, with_gradient

SHAPE = (3, 7, 10)


def decoder():
    torch.manual_seed(0)
    return ConvDecoder(SHAPE, 2, widths=(8, 8), blocks=1, groups=4, attention=False).double()


def losses(images, real):
    torch.manual_seed(1)
    judge = PatchGAN(SHAPE, width=4, norm="none").double()
    return F.l1_loss(images, real), -judge(images).mean()


def both():
    """Images with their graph, the features, and both losses."""
    network, z = decoder(), torch.randn(5, 2, 4, 5, dtype=torch.float64)
    features = network.features(z)
    images = network.crop(network.last_layer(features))
    return network, features, images, losses(images, torch.rand_like(images))


def test_the_gradients_are_those_of_two_passes_through_the_decoder():
    network, features, images, (first, second) = both()
    weight = network.last_layer.weight
    expected = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (first, second)]
    of_images = [torch.autograd.grad(loss, images, retain_graph=True)[0] for loss in (first, second)]
    for found, wanted in zip(last_layer_gradients(network, features, *of_images), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    ratio = expected[0].norm() / (expected[1].norm() + 1e-4)
    torch.testing.assert_close(gradient_ratio(*expected), ratio, rtol=1e-12, atol=0)


def test_a_gradient_by_finite_differences():
    network, features, images, (_, loss) = both()
    (of_images,) = torch.autograd.grad(loss, images)
    (found,) = last_layer_gradients(network, features, of_images)
    weight, step = network.last_layer.weight, 1e-6
    direction, values = torch.randn_like(weight), []
    with torch.no_grad():
        for moved in (step, -step):
            weight.add_(moved * direction)
            values.append(losses(network.crop(network.last_layer(features)), torch.zeros(5, *SHAPE))[1].item())
            weight.sub_(moved * direction)
    assert (found * direction).sum().item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6)


def test_the_ratio_is_bounded_positive_and_a_constant():
    one, none = torch.ones(3, requires_grad=True), torch.zeros(3)
    assert gradient_ratio(one, none).item() == 1e4
    assert gradient_ratio(none, one).item() == 0
    assert gradient_ratio(-one, one).item() == pytest.approx(1, rel=1e-3)
    assert not gradient_ratio(one, one).requires_grad


def test_in_bfloat16_the_ratio_is_that_of_float32():
    """From a bfloat16 pass's own features and gradients to a percent of float32's."""
    network, z = decoder().float(), torch.randn(5, 2, 4, 5)
    judge, real = PatchGAN(SHAPE, width=4, norm="none"), torch.rand(5, *SHAPE)
    ratios = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features = network.features(z)
            images = network.crop(network.last_layer(features)).float().detach().requires_grad_()
            pair = F.l1_loss(images, real), -judge(images).float().mean()
            of_images = [torch.autograd.grad(loss, images)[0] for loss in pair]
            gradients = last_layer_gradients(network, features, *of_images)
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        ratios.append(gradient_ratio(*gradients).item())
    assert ratios[1] == pytest.approx(ratios[0], rel=0.02)


def test_a_known_gradient_goes_on_backwards():
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    value = with_gradient(x.square(), torch.tensor(5.0, dtype=torch.float64), torch.full_like(x, 3.0))
    assert value.item() == 5
    (2 * value).backward()
    torch.testing.assert_close(x.grad, 2 * 3 * 2 * x.detach())


def test_only_the_last_layer_is_run_again():
    network, features, images, (first, _) = both()
    (of_images,) = torch.autograd.grad(first, images, retain_graph=True)
    calls = []
    for layer in network.modules():
        layer.register_forward_hook(partial(lambda kind, *_: calls.append(kind), type(layer).__name__))
    last_layer_gradients(network, features, of_images)
    assert calls == ["Conv2d"]
    assert network.last_layer.weight.grad is None
