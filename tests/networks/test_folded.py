"""A resampling folded into a convolution gives what the two give one after the other."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lit_gen.losses import GradientPenalty
from lit_gen.networks import ResNetDiscriminator, ResNetGenerator
from lit_gen.networks.folded import PooledConv2d, UpsampledConv2d


def upsampled(layer, x):
    large = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(large, layer.weight, layer.bias, padding=1)


def pooled(layer, x):
    return F.conv2d(x, layer.weight, layer.bias, padding=1).unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))


PAIRS = [(UpsampledConv2d, upsampled), (PooledConv2d, pooled)]


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "plain"])
@pytest.mark.parametrize(("layer", "definition"), PAIRS, ids=["upsampled", "pooled"])
def test_values_and_gradients_are_those_of_the_definition(layer, definition, folded):
    torch.manual_seed(0)
    layer = layer(3, 5, folded).double()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    ours, theirs = layer(x), definition(layer, x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    direction = torch.randn_like(ours)
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, direction), torch.autograd.grad(theirs, inputs, direction), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [UpsampledConv2d, PooledConv2d])
def test_weights_can_be_mapped_over(kind):
    torch.manual_seed(0)
    layers, x = [kind(3, 5) for _ in range(2)], torch.randn(2, 3, 4, 4)
    parameters, _ = torch.func.stack_module_state(layers)
    of_all = torch.vmap(lambda own: torch.func.functional_call(layers[0], own, (x,)))(parameters)
    torch.testing.assert_close(of_all, torch.stack([layer(x) for layer in layers]))


@pytest.mark.parametrize(("layer", "definition"), PAIRS, ids=["upsampled", "pooled"])
def test_sixteen_products_in_place_of_thirty_six(layer, definition):
    layer, x, flops = layer(4, 4), torch.randn(1, 4, 8, 8), []
    for function in (layer, partial(definition, layer)):
        with FlopCounterMode(display=False) as counter:
            function(x)
        flops.append(counter.get_total_flops())
    assert 36 * flops[0] == 16 * flops[1]


@pytest.mark.parametrize("layer", [UpsampledConv2d, PooledConv2d])
def test_bfloat16_differs_by_its_rounding(layer):
    torch.manual_seed(0)
    layer, x = layer(64, 64), torch.randn(2, 64, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        ours = layer(x).float()
        layer.folded = False
        theirs = layer(x).float()
    layer = layer.double()
    exact = layer(x.double())
    assert (ours - exact).norm() < 4e-3 * exact.norm()
    assert (ours - exact).norm() < 1.5 * (theirs - exact).norm()


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        (partial(ResNetGenerator, (3, 32, 32), 8, width=4), (8,)),
        (partial(ResNetDiscriminator, (3, 32, 32), width=4), (3, 32, 32)),
        (partial(ResNetDiscriminator, (3, 48, 48), width=4, spectral_norm=True), (3, 48, 48)),
    ],
    ids=["generator", "critic", "spectral norm"],
)
def test_networks_are_equal_folded_or_not(network, inputs):
    torch.manual_seed(0)
    folded, plain = network().double().eval(), network(folded=False).double().eval()
    plain.load_state_dict(folded.state_dict())  # and the keys are the same
    x = torch.randn(3, *inputs, dtype=torch.float64)
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-11, atol=1e-12)


def test_the_names_of_the_weights_are_those_of_earlier_checkpoints():
    def convolutions(network):
        return {name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}

    generator, critic = ResNetGenerator((3, 32, 32), 2, width=2), ResNetDiscriminator((3, 32, 32), width=2)
    ups = {f"layers.{i}.{name}" for i in (2, 3, 4) for name in ("residual.3", "residual.6", "shortcut.0")}
    assert convolutions(generator) == ups | {"layers.7"}
    downs = {"blocks.0.residual.0", "blocks.0.residual.2", "blocks.0.shortcut.1"}
    downs |= {f"blocks.{i}.residual.{j}" for i in (1, 2, 3) for j in (2, 5)} | {"blocks.1.shortcut.1"}
    assert convolutions(critic) == downs


def test_penalties_are_equal_folded_or_not():
    torch.manual_seed(0)
    folded, plain = (ResNetDiscriminator((3, 32, 32), width=4, folded=f).double() for f in (True, False))
    plain.load_state_dict(folded.state_dict())
    real, fake = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    gradients = []
    for critic in (folded, plain):
        GradientPenalty()(critic, real, fake, torch.full((3,), 0.3, dtype=torch.float64)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)
