import pytest
import torch
from torch import nn

from lit_gen.networks import MLPDiscriminator, MLPEncoder, MLPGenerator


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_count_is_that_of_the_layers():
    assert parameters(MLPGenerator((2,), 3, width=5, depth=3)) == (3 * 5 + 5) + 2 * (5 * 5 + 5) + (5 * 2 + 2)
    assert parameters(MLPDiscriminator((1, 4, 4), width=5, depth=1)) == (16 * 5 + 5) + (5 + 1)
    normed = MLPDiscriminator((1, 4, 4), width=5, depth=1, norm="layer")  # gain and bias for the linear's bias
    assert parameters(normed) == (16 * 5 + 10) + (5 + 1)


def test_without_hidden_layers_the_network_is_linear():
    encoder = MLPEncoder((4,), 2, depth=0)
    x, y = torch.randn(5, 4), torch.randn(5, 4)
    middle = encoder((x + y) / 2)
    for m, a, b in zip(middle, encoder(x), encoder(y), strict=True):
        torch.testing.assert_close(m, (a + b) / 2)


def test_activations_are_those_of_the_player():
    def activations(network):
        kinds = (nn.ReLU, nn.LeakyReLU)
        return [type(module) for module in network.layers if isinstance(module, kinds)]

    assert activations(MLPGenerator((2,), 3)) == [nn.ReLU] * 2
    assert activations(MLPDiscriminator((2,), depth=3)) == [nn.LeakyReLU] * 3


def test_instance_norm_of_a_vector_is_refused():
    with pytest.raises(ValueError, match="norm='instance': vectors take 'batch', 'layer' or 'none'"):
        MLPDiscriminator((2,), norm="instance")
