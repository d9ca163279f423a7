"""Networks that compute activations again are the networks that keep them: values, gradients, buffers, names."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from lit_gen.kernels import FastConvolutions
from lit_gen.losses import R1R2, FiniteDifference, GradientPenalty
from lit_gen.networks import ConvDecoder, ConvEncoder, ResNetDiscriminator, ResNetGenerator
from lit_gen.networks.checkpointing import Checkpointed, use_checkpoints

SHAPE = (3, 16, 16)
SMALL = {"widths": (8, 16), "blocks": 1, "groups": 4}
NETWORKS = {
    "generator": (partial(ResNetGenerator, SHAPE, 5, width=6), (5,)),
    "discriminator": (partial(ResNetDiscriminator, SHAPE, width=6), SHAPE),
    "spectral norm": (partial(ResNetDiscriminator, SHAPE, width=6, spectral_norm=True), SHAPE),
    "batch norm": (partial(ResNetDiscriminator, SHAPE, width=6, norm="batch"), SHAPE),
    "encoder": (partial(ConvEncoder, SHAPE, 2, **SMALL), SHAPE),
    "decoder": (partial(ConvDecoder, SHAPE, 2, **SMALL), (2, 8, 8)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)
of_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)


def pair(name, dtype=torch.float64):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    plain = make()
    torch.manual_seed(0)
    return plain.to(dtype), make(checkpointing=True).to(dtype), torch.randn(4, *shape).to(dtype)


def state(network):
    """Weights, their gradients and buffers, all that a step leaves."""
    gradients = {f"{n} gradient": p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    return {**{n: t.detach().clone() for n, t in network.state_dict().items()}, **gradients}


def assert_equal(ours, expected):
    assert ours.keys() == expected.keys()
    assert not [name for name, value in ours.items() if not torch.equal(value, expected[name])]


@every_network
@of_dtypes
def test_two_passes_and_one_backward_are_bit_for_bit_the_plain_ones(name, dtype):
    """The second pass moves the buffers before the first one is computed again. bfloat16 is autocast's."""
    plain, saving, x = pair(name, torch.float64 if dtype == torch.float64 else torch.float32)
    calls, results = [], []
    for network in (plain, saving):
        inner = next(layer for layer in network.modules() if isinstance(layer, Checkpointed))
        convolution = next(layer for layer in inner.modules() if isinstance(layer, nn.Conv2d))
        convolution.register_forward_hook(lambda *_: calls.append(1))
        start = x.clone().to(next(network.parameters()).dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            outputs = network(start), network(2 * start)
        before = len(calls)
        (outputs[0].square().mean() + outputs[1].sin().mean()).backward()
        results.append({**state(network), "x": start.grad, "output": outputs[0], "second": outputs[1]})
        assert len(calls) - before == (2 if network is saving else 0)  # else nothing would be saved
    assert_equal(results[1], results[0])


@pytest.mark.parametrize("penalty", [R1R2(), R1R2(direct=False), GradientPenalty(), FiniteDifference()], ids=str)
@pytest.mark.parametrize("name", ["discriminator", "spectral norm"])
@of_dtypes
def test_penalties_differentiate_twice(name, penalty, dtype):
    if name == "spectral norm" and isinstance(penalty, FiniteDifference):
        with pytest.raises(ValueError, match=r"checkpointing=True: FiniteDifference .* ResNetDiscriminator .*R1R2"):
            penalty.check(pair(name)[1])
        return
    plain, saving, x = pair(name, torch.float64 if dtype == torch.float64 else torch.float32)
    epsilon = torch.rand(4, *penalty.epsilon_shape(SHAPE)).to(x.dtype)
    results = []
    for network in (plain, saving):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = penalty(network, x, x.flip(0) / 2, epsilon)
            loss = value + F.softplus(network(x)).mean()
        loss.backward()
        results.append({**state(network), "penalty": value})
    assert results[0]["penalty"] > 0
    assert_equal(results[1], results[0])


def test_dropout_draws_the_same_numbers_again():
    class Block(Checkpointed):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 6))

        def forward(self, x):
            return self.layers(x)

    torch.manual_seed(0)
    network, x, results = nn.Sequential(Block(), Block()).double(), torch.randn(8, 6).double(), []
    for checkpointing in (False, True):
        use_checkpoints(network, checkpointing)
        network.zero_grad()
        torch.manual_seed(1)
        network(x).square().sum().backward()
        results.append({**state(network), "next numbers": torch.rand(3)})
    assert_equal(results[1], results[0])


def test_replaced_functions_and_substituted_weights_are_those_of_the_forward_pass():
    """The backward pass runs outside of both."""
    plain, saving, x = pair("spectral norm")
    results = []
    for network in (plain, saving):
        weights = {name: (1.5 * p.detach()).requires_grad_() for name, p in network.named_parameters()}
        with FastConvolutions():
            score = functional_call(network, weights, (x,))
        score.square().sum().backward()
        results.append({name: weight.grad for name, weight in weights.items()})
    assert_equal(results[1], results[0])


@every_network
def test_names_and_copies_are_as_without(name):
    plain, saving, x = pair(name)
    assert list(plain.state_dict()) == list(saving.state_dict())
    saving.load_state_dict(plain.state_dict())
    twin = copy.deepcopy(saving)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    twin(x).sum().backward()  # its own weights, not those it was copied from
    assert all(p.grad is None for p in saving.parameters())
    assert torch.equal(saving.eval()(x), plain.eval()(x))
