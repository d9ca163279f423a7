import pytest
import torch
from torch import nn

from lit_gen.metrics import FastExtractor, IdentityExtractor, ModuleExtractor, SmallResNet, load_extractor


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = SmallResNet((3, 16, 16), 10, num_features=32, width=8)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network


def test_folding_changes_nothing_but_rounding(network):
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fast = FastExtractor(network)
    for found, expected in zip(fast.extract(images), network.extract(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert fast.name == network.name
    assert (fast.num_features, fast.num_classes, fast.image_shape) == (32, 10, (3, 16, 16))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules())
    assert all(network.state_dict()[key].equal(value) for key, value in before.items())
    assert sum(weights.numel() for weights in fast.state_dict().values()) > 1000  # to be told from another's


def test_bfloat16_is_near_and_bears_another_name(network):
    images = torch.rand(16, 3, 16, 16) * 2 - 1
    fast = FastExtractor(network, "bfloat16")
    expected, found = network.extract(images)[0], fast.extract(images)[0]
    assert fast.name == "small_resnet-bf16"
    assert found.dtype == torch.float32
    error = (found - expected).norm() / expected.norm()
    assert 1e-4 < error < 0.03  # bfloat16 keeps 8 bits: float32 would be nearer than that


def test_a_norm_that_does_not_follow_a_convolution_stays():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 1),
        nn.BatchNorm2d(2, track_running_stats=False),
    )
    nn.init.normal_(layers[2].running_mean)
    extractor = ModuleExtractor((3, 8, 8), layers, "mine")
    fast = FastExtractor(extractor)
    images = torch.randn(3, 3, 8, 8)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules()) == 2
    torch.testing.assert_close(fast.extract(images)[0], extractor.extract(images)[0])


def test_points_pass_as_they_are():
    points = torch.randn(5, 2)
    features, logits = FastExtractor(IdentityExtractor((2,))).extract(points)
    assert features.equal(points)
    assert logits is None


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="precision='float16'"):
        FastExtractor(load_extractor("digits"), "float16")
