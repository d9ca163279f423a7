"""Pictures of any size through translators: tiles against the whole, in float64, and what they hold in memory."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lit_gen.networks import ResNetTranslator, Translator, UNetTranslator, translate_any_size
from lit_gen.networks.tiles import PictureStatistics, tile_side


def resnet(norm="instance", downsamplings=2, blocks=1, width=3):
    return stirred(ResNetTranslator((2, 16, 16), width, blocks, downsamplings, norm))


def unet(norm="instance", side=8):
    return stirred(UNetTranslator((2, side, side), 3, norm))


def stirred(network):
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return network.double().eval()


def picture(height, width, n=1):
    """Bright on the right, so that parts have other statistics than the whole."""
    torch.manual_seed(1)
    return torch.rand(n, 2, height, width, dtype=torch.float64) * torch.linspace(0.1, 1.8, width) - 0.9


SIZES = [(125, 64), (61, 130), (131, 18), (9, 203), (112, 111)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "make",
    [
        resnet,
        lambda: resnet("layer"),
        lambda: resnet("batch", 1),
        lambda: resnet("none", 0, 2),
        unet,
        lambda: unet("layer", 4),
    ],
    ids=["resnet", "resnet-layer", "resnet-batch", "resnet-none", "unet", "unet-layer"],
)
@torch.no_grad()
def test_tiles_are_the_whole(make, size):
    network = make()
    tile = 2 * -(-network.reach // network.stride) * network.stride + 3 * network.stride
    assert tile < max(size)
    whole = translate_any_size(network, picture(*size), tile=4096)
    by_tiles = translate_any_size(network, picture(*size), tile)
    assert by_tiles.shape == (1, 2, *size)
    torch.testing.assert_close(by_tiles, whole, rtol=0, atol=1e-10)
    assert whole.std() > 0.05


@torch.no_grad()
def test_the_whole_is_the_network_on_the_picture_continued_by_reflection():
    network = resnet()
    for height, width in ((30, 29), (45, 16), (32, 32)):
        padding = (0, -width % 4, 0, -height % 4)
        expected = network(F.pad(picture(height, width), padding, mode="reflect"))[..., :height, :width]
        assert torch.equal(translate_any_size(network, picture(height, width)), expected)


@torch.no_grad()
@pytest.mark.parametrize("make", [resnet, unet, lambda: resnet(downsamplings=0)], ids=["resnet", "unet", "flat"])
def test_pictures_smaller_than_the_receptive_field(make):
    network = make()
    for size in ((1, 1), (1, 7), (2, 3), (3, 40), (5, 5), (13, 2)):
        translated = translate_any_size(network, picture(*size))
        assert translated.shape == (1, 2, *size)
        assert translated.isfinite().all()


@torch.no_grad()
def test_several_pictures_have_statistics_of_their_own():
    network, pictures = resnet(), picture(70, 90, n=3)
    together = translate_any_size(network, pictures, tile=72)
    apart = torch.cat([translate_any_size(network, one, tile=72) for one in pictures.split(1)])
    assert torch.equal(together, apart)


def with_statistics_of(network, x):
    """The network with batch norms in place of its instance norms, whose statistics are those of `x`."""
    fixed = copy.deepcopy(network)
    for name, norm in network.named_modules():
        if isinstance(norm, nn.InstanceNorm2d):
            seen = []
            handle = norm.register_forward_hook(lambda norm, inputs, output, seen=seen: seen.append(inputs[0]))
            network(x)
            handle.remove()
            batch_norm = nn.BatchNorm2d(norm.num_features, norm.eps, affine=False).double().eval()
            variance, mean = torch.var_mean(seen[0], (0, 2, 3), correction=0)
            batch_norm.running_mean, batch_norm.running_var = mean, variance
            fixed.set_submodule(name, batch_norm)
    return fixed


@torch.no_grad()
def test_reduced_statistics_are_those_of_the_reduced_picture():
    network, x = resnet(), picture(96, 144)
    reduced = F.interpolate(x, (48, 72), mode="bilinear", antialias=True)
    expected = with_statistics_of(network, reduced)(x)
    torch.testing.assert_close(translate_any_size(network, x, 72, "reduced"), expected, rtol=0, atol=1e-10)
    exact = translate_any_size(network, x, 72)
    torch.testing.assert_close(exact, with_statistics_of(network, x)(x), rtol=0, atol=1e-10)
    assert (exact - expected).abs().max() > 1e-3


def gradient_reach(network, side=256):
    """How far from an output an input still changes it, over one stride of outputs."""
    furthest = 0
    for place in range(side // 2, side // 2 + network.stride):
        x = torch.zeros(1, 2, side, 8 * network.stride, dtype=torch.float64, requires_grad=True)
        network(x)[0, :, place].sum().backward()
        rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        furthest = max(furthest, int((rows - place).abs().max()))
    return furthest


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResNetTranslator((2, 16, 16), 2, 3, 0, "none"),
        lambda: ResNetTranslator((2, 16, 16), 2, 0, 1, "none"),
        lambda: ResNetTranslator((2, 16, 16), 2, 3, 2, "none"),
        lambda: UNetTranslator((2, 4, 4), 2, "none"),
        lambda: UNetTranslator((2, 16, 16), 2, "none"),
    ],
)
def test_the_reach_covers_the_receptive_field(make):
    """All weights positive and no ReLU off, so that no way through the network cancels."""
    network = make().double()
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0.01 if name.endswith("weight") else 0.0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter += 0.01
    found = gradient_reach(network)
    assert found <= network.reach <= found + 3 * network.stride


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes, what only looks into another one left out."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and not tensor._is_view():
                self.numel = max(self.numel, tensor.numel())
        return result


@torch.no_grad()
@pytest.mark.parametrize("statistics", ["exact", "reduced"])
def test_memory_is_bounded_by_the_tile(statistics):
    network, tile = resnet(width=16), 72

    def largest(height, width, tile):
        with Largest() as seen:
            translate_any_size(network, picture(height, width), tile, statistics)
        return seen.numel

    of_tile = 16 * (tile + 6) ** 2  # sixteen maps of the tile, with the border of the first convolution
    assert largest(150, 160, tile) <= of_tile
    assert largest(300, 320, tile) <= max(of_tile, 2 * 300 * 320)  # the picture itself
    assert largest(300, 320, 4096) >= 16 * 300 * 320


@torch.no_grad()
def test_the_network_is_left_as_it_was():
    network = resnet()
    before, x = copy.deepcopy(network), picture(40, 44)
    translate_any_size(network, picture(90, 100), tile=72)
    assert torch.equal(network(x), before(x))
    assert not any(layer._forward_hooks for layer in network.modules())
    with pytest.raises(ZeroDivisionError), PictureStatistics(network):
        raise ZeroDivisionError
    assert torch.equal(network(x), before(x))


class FixedSize(Translator):
    def forward(self, x):
        return x.flatten(1).unflatten(1, self.image_shape)


def test_mistakes_are_named():
    network = resnet()
    least = 2 * -(-network.reach // 4) * 4 + 4
    assert tile_side(network, least + 3) == least
    for call, message in (
        (lambda: tile_side(network, least - 1), f"tile={least - 1}: ResNetTranslator.*at least {least}"),
        (lambda: translate_any_size(network, picture(40, 40), statistics="none"), "statistics='none'.*exact"),
        (lambda: translate_any_size(network, picture(8, 8)[..., :0]), r"\(1, 2, 8, 0\).*at least 1"),
        (lambda: translate_any_size(FixedSize((2, 8, 8)), picture(8, 9)), r"\(1, 2, 8, 9\): FixedSize.*\(2, 8, 8\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert translate_any_size(FixedSize((2, 8, 8)), picture(8, 8)).shape == (1, 2, 8, 8)
