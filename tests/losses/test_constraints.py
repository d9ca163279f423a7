import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from lit_gen.losses import SpectralNorm, WeightClip
from lit_gen.networks import DCGANDiscriminator, MLPDiscriminator
from lit_gen.networks.layers import LINEAR_LAYERS


def spectral_norms(network):
    """Largest singular value of each layer's weight, as a matrix with the output channels in its rows."""
    for layer in network.modules():
        if isinstance(layer, LINEAR_LAYERS):
            transposed = isinstance(layer, nn.ConvTranspose2d)
            weight = layer.weight.transpose(0, 1) if transposed else layer.weight
            yield torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item()


def mixed_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 4, 2, 1), nn.Flatten(), nn.Linear(192, 1)
    )


@pytest.mark.parametrize(
    "make", [mixed_network, lambda: DCGANDiscriminator((1, 8, 8), width=8), lambda: MLPDiscriminator((1, 8, 8))]
)
def test_spectral_norm_brings_every_layers_largest_singular_value_to_one(make):
    network = make()
    before = list(spectral_norms(network))
    assert max(abs(norm - 1) for norm in before) > 0.1
    SpectralNorm().prepare(network)
    x = torch.randn(4, 1, 8, 8)
    for _ in range(200):
        network(x)
    after = list(spectral_norms(network.eval()))
    assert len(after) == len(before)
    assert after == pytest.approx([1.0] * len(after), abs=2e-3)


def test_spectral_norm_follows_the_training():
    network = mixed_network()
    SpectralNorm(n_power_iterations=5).prepare(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(30):
        loss = -network(torch.randn(8, 1, 8, 8)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        SpectralNorm().after_step(network)
    assert list(spectral_norms(network)) == pytest.approx([1.0] * 3, abs=2e-2)


def test_spectral_norm_refuses_normalised_layers_and_copies():
    network = mixed_network()
    SpectralNorm().prepare(network)
    names = set(network.state_dict())
    with pytest.raises(ValueError, match=r"layer '0' is normalised already; .* not both"):
        SpectralNorm().prepare(network)
    assert set(network.state_dict()) == names
    twin = copy.deepcopy(network).eval()
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(twin(x), network.eval()(x))
    assert sum(parametrize.is_parametrized(layer) for layer in network.modules()) == 3


def test_weights_stay_in_the_box():
    torch.manual_seed(0)
    network, clip = DCGANDiscriminator((1, 8, 8), width=8), WeightClip(0.01)
    inside = {name: p.detach().clone() for name, p in network.named_parameters()}
    clip.prepare(network)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, inside[name].clamp(-0.01, 0.01))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        loss = network(torch.randn(8, 1, 8, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert max(p.abs().max() for p in network.parameters()) > 0.01
        clip.after_step(network)
        assert max(p.abs().max() for p in network.parameters()) <= 0.01
    assert all(p.requires_grad and p.is_leaf for p in network.parameters())


@pytest.mark.parametrize("bound", [0.0, -0.01, math.inf, math.nan])
def test_wrong_bounds_are_named(bound):
    with pytest.raises(ValueError, match=f"bound={bound}: WeightClip"):
        WeightClip(bound)


def test_wrong_iterations_are_named():
    with pytest.raises(ValueError, match="n_power_iterations=0: SpectralNorm"):
        SpectralNorm(0)
