"""Networks from image to image, and the discriminator of patches."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

from lit_gen.kernels import FastConvolutions
from lit_gen.losses import Hinge, LeastSquares, Minimax, NonSaturating, RelativisticAverage, Wasserstein
from lit_gen.networks import PatchGAN, ResNetTranslator, UNetTranslator

TRANSLATORS = [ResNetTranslator, UNetTranslator]


def count(network):
    return sum(p.numel() for p in network.parameters())


def images(n, *shape):
    torch.manual_seed(1)
    return torch.rand(n, *shape) * 2 - 1


@pytest.mark.parametrize(
    ("make", "side", "published"),
    [
        (partial(ResNetTranslator, blocks=9), 256, 11.378),
        (partial(ResNetTranslator, blocks=6), 128, 7.838),
        (partial(PatchGAN, receptive_field=70), 256, 2.765),
        (partial(UNetTranslator, norm="batch"), 256, 54.414),
        (partial(UNetTranslator, norm="batch"), 128, 41.829),
    ],
    ids=["ResNet-9", "ResNet-6", "PatchGAN-70", "U-Net-256", "U-Net-128"],
)
def test_as_many_parameters_as_published(make, side, published):
    with torch.device("meta"):  # counts without filling 200 MB
        network = make((3, side, side))
    assert round(count(network) / 1e6, 3) == published


@pytest.mark.parametrize("make", [*TRANSLATORS, PatchGAN])
def test_published_initialisation_and_instance_norm_without_weights(make):
    torch.manual_seed(0)
    network = make((3, 32, 32), width=32)
    convolutions = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    weights = torch.cat([m.weight.flatten() for m in convolutions])
    assert weights.mean().abs() < 5 * 0.02 / len(weights) ** 0.5
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert all(m.bias is not None and not m.bias.any() for m in convolutions)
    norms = [m for m in network.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert norms
    assert not any(list(m.parameters()) or list(m.buffers()) for m in norms)


@pytest.mark.parametrize("kernels", [nullcontext, FastConvolutions], ids=["PyTorch's", "own"])
@pytest.mark.parametrize("make", [ResNetTranslator, UNetTranslator, PatchGAN])
def test_gradients_of_one_image_are_those_of_channels_first(make, kernels):
    torch.manual_seed(0)
    network, x = make((3, 32, 32), width=8).double(), images(1, 3, 32, 32).double()
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network.to(memory_format=layout)
        with kernels():
            value = network(x.to(memory_format=layout)).square().sum()
        gradients.append(torch.autograd.grad(value, list(network.parameters())))
    for first, last in zip(*gradients, strict=True):
        torch.testing.assert_close(first, last, rtol=1e-9, atol=1e-9)


def test_the_papers_resnet_layer_by_layer():
    """c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3 by what each layer makes of 64 pixels."""
    network = ResNetTranslator((3, 64, 64), blocks=9)
    maps = []
    for layer in network.layers:
        if not isinstance(layer, (nn.ReflectionPad2d, nn.InstanceNorm2d, nn.ReLU)):
            layer.register_forward_hook(lambda *call: maps.append(tuple(call[-1].shape[1:])))
    network(images(1, 3, 64, 64))
    down, up = [(64, 64, 64), (128, 32, 32), (256, 16, 16)], [(128, 32, 32), (64, 64, 64), (3, 64, 64)]
    assert maps == down + [(256, 16, 16)] * 9 + up


def test_borders_are_reflected():
    """Constant images stay constant: zero padding would darken the rim of the first layer and of the blocks."""
    network = ResNetTranslator((3, 32, 32), width=4, blocks=2, downsamplings=0, norm="none")
    y = network(torch.full((1, 3, 32, 32), 0.7))
    torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y))


@pytest.mark.parametrize(
    ("side", "blocks", "downsamplings"), [(256, 9, 2), (128, 6, 2), (28, 6, 2), (14, 6, 1), (8, 6, 0)]
)
def test_resnets_defaults_go_by_the_size(side, blocks, downsamplings):
    with torch.device("meta"):
        network = ResNetTranslator((3, side, side))
    assert sum(hasattr(layer, "residual") for layer in network.layers) == blocks
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in network.layers) == downsamplings


@pytest.mark.parametrize(("side", "levels", "widths"), [(256, 8, 8), (32, 5, 8), (28, 2, 2), (12, 2, 2)])
def test_unet_halves_while_it_can(side, levels, widths):
    network = UNetTranslator((3, side, side), width=2)
    inner = []
    network.down[-1].register_forward_hook(lambda *call: inner.append(tuple(call[-1].shape[1:])))
    network(images(2, 3, side, side))
    assert inner == [(2 * widths, side >> levels, side >> levels)]


@pytest.mark.parametrize("field", [1, 16, 34, 70])
def test_receptive_field_by_gradients(field):
    """The pixels that one score depends on, with weights that can't cancel and no norm to spread the dependence."""
    discriminator = PatchGAN((1, 160, 160), receptive_field=field, width=1, norm="none").double()
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.fill_(0.1)
    x = torch.ones(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    scores = discriminator(x)
    scores[0, scores.shape[1] // 2, scores.shape[2] // 2].backward()
    seen = x.grad[0, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == field
    assert seen.sum() == field**2  # without holes


@pytest.mark.parametrize(
    ("field", "side", "scores"), [(70, 256, 30), (34, 64, 14), (16, 28, 12), (1, 28, 28), (70, 24, 1), (None, 256, 30)]
)
def test_one_score_a_patch(field, side, scores):
    assert PatchGAN((3, side, side), receptive_field=field, width=2)(images(2, 3, side, side)).shape == (
        2,
        scores,
        scores,
    )


@pytest.mark.parametrize(("side", "field"), [(256, 70), (70, 70), (69, 34), (32, 16), (8, 16)])
def test_the_receptive_field_goes_by_the_size(side, field):
    with torch.device("meta"):
        default, explicit = PatchGAN((3, side, side)), PatchGAN((3, side, side), receptive_field=field)
    assert count(default) == count(explicit)
    strides = [m.stride[0] for m in default.modules() if isinstance(m, nn.Conv2d)]
    assert strides.count(2) == {16: 1, 34: 2, 70: 3}[field]


@pytest.mark.parametrize(
    "loss", [LeastSquares(), NonSaturating(), Minimax(), Hinge(), Wasserstein(), RelativisticAverage()], ids=str
)
def test_losses_count_every_patch_as_a_sample(loss):
    real, fake = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    flat_real, flat_fake = real.flatten(), fake.flatten()
    assert loss.discriminator(real, fake).item() == pytest.approx(loss.discriminator(flat_real, flat_fake).item())
    assert loss.generator(fake, real).item() == pytest.approx(loss.generator(flat_fake, flat_real).item())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(ResNetTranslator, (2,)), r"image_shape=\(2,\): ResNetTranslator needs \(C, height, width\)"),
        (partial(ResNetTranslator, (3, 30, 30), downsamplings=2), r"\(3, 30, 30\).*divisible by 4, at least 8"),
        (partial(ResNetTranslator, (3, 32, 32), width=0), "width=0"),
        (partial(ResNetTranslator, (3, 32, 32), blocks=-1), "blocks=-1"),
        (partial(ResNetTranslator, (3, 32, 32), downsamplings=-1), "downsamplings=-1"),
        (partial(UNetTranslator, (3, 27, 28)), r"\(3, 27, 28\): UNetTranslator.*divisible by 2, at least 4"),
        (partial(UNetTranslator, (3, 32, 32), width=0), "width=0: UNetTranslator"),
        (partial(PatchGAN, (2,)), r"image_shape=\(2,\): PatchGAN"),
        (partial(PatchGAN, (3, 20, 32), receptive_field=70), r"receptive_field=70.*at least 24"),
        (partial(PatchGAN, (3, 256, 256), receptive_field=50), "receptive_field=50.*1, 16, 34 or 70"),
        (partial(PatchGAN, (3, 32, 32), width=0), "width=0: PatchGAN"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
