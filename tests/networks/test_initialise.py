import math
from functools import partial

import pytest
import torch
from torch import nn

from lit_gen.networks import (
    DCGANDecoder,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    initialise,
)
from lit_gen.networks.initialise import fans
from lit_gen.networks.layers import LINEAR_LAYERS

LAYERS = {
    "linear": lambda: nn.Linear(60, 90),
    "conv": lambda: nn.Conv2d(32, 48, 3, padding=1),
    "strided": lambda: nn.Conv2d(32, 48, 4, 2, 1),
    "grouped": lambda: nn.Conv2d(32, 48, 3, padding=1, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(32, 48, 4, 2, 1),
    "grouped transposed": lambda: nn.ConvTranspose2d(32, 48, 4, 2, 1, groups=2),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_fans_count_connections(make):
    """With weights of 1, the output and the input gradient of constant 1 count the connections of an inner unit."""
    layer = make()
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    x = torch.ones(1, 60) if isinstance(layer, nn.Linear) else torch.ones(1, 32, 24, 24)
    x.requires_grad_()
    y = layer(x)
    y.sum().backward()
    inner = (slice(None), slice(None), slice(4, 8), slice(4, 8))[: x.ndim]
    assert fans(layer) == (y[inner].mean().item(), x.grad[inner].mean().item())


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("init", ["dcgan", "he", "glorot"])
def test_variances_are_those_of_the_papers(make, init):
    torch.manual_seed(0)
    layer = make()
    initialise(nn.Sequential(layer), init)
    fan_in, fan_out = fans(layer)
    variance = {"dcgan": 0.02**2, "he": 2 / fan_in, "glorot": 2 / (fan_in + fan_out)}[init]
    weight = layer.weight.detach()
    assert weight.var().item() == pytest.approx(variance, rel=0.06)
    assert abs(weight.mean().item()) < 0.05 * math.sqrt(variance)
    kurtosis = (weight**4).mean() / (weight**2).mean() ** 2
    assert kurtosis.item() == pytest.approx(1.8 if init == "glorot" else 3.0, rel=0.08)  # uniform, normal
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_orthogonal_matrices(make):
    layer = make()
    initialise(layer, "orthogonal")
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    matrix = weight.detach().flatten(1)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["strided", "transposed", "conv"])
def test_he_keeps_the_second_moment_through_a_relu(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    initialise(layer, "he")
    x = torch.randn(64, 32, 12, 12)
    y = torch.relu(layer(x))[:, :, 2:-2, 2:-2]
    assert y.square().mean().item() == pytest.approx(1.0, rel=0.08)


NETWORKS = [
    *[partial(make, (3, 32, 32), 16, 5) for make in (MLPGenerator, DCGANGenerator, ResNetGenerator)],
    *[partial(make, (3, 32, 32), 16, 5) for make in (MLPEncoder, DCGANEncoder, MLPDecoder, DCGANDecoder)],
    *[partial(make, (3, 32, 32), 5) for make in (MLPDiscriminator, DCGANDiscriminator, ResNetDiscriminator)],
]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.func.__name__)
def test_every_layer_of_every_network_takes_part(make):
    torch.manual_seed(0)
    network = make(width=32, init="he")
    layers = [layer for layer in network.modules() if isinstance(layer, LINEAR_LAYERS) and layer.weight.numel() > 1000]
    assert len(layers) >= 2
    for layer in layers:
        assert layer.weight.var().item() == pytest.approx(2 / fans(layer)[0], rel=0.2)
    with pytest.raises(ValueError, match="init='xavier': 'dcgan', 'he', 'glorot', 'orthogonal'"):
        make(width=2, init="xavier")


def test_defaults_are_the_papers():
    torch.manual_seed(0)
    assert DCGANDecoder((3, 32, 32), 16).trunk[-1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    linear = MLPDiscriminator((3, 32, 32)).layers[0]
    assert linear.weight.abs().max().item() == pytest.approx(3072**-0.5, rel=0.01)
    # test_resnet.py has the residual networks'


def test_gains_and_embeddings_of_labels_keep_their_values():
    for init in ("dcgan", "he", "glorot", "orthogonal"):
        torch.manual_seed(0)
        generator = DCGANGenerator((1, 8, 8), 4, 3, width=4, condition="batch_norm", init=init)
        assert (generator.trunk[2].gain.weight == 1).all()
        joined = DCGANGenerator((1, 8, 8), 100, 50, width=4, condition="embedding", init=init)
        assert joined.join.embedding.weight.std().item() == pytest.approx(1.0, rel=0.05)
