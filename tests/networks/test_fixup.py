import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lit_gen.losses import R1, R2
from lit_gen.networks import FixupDiscriminator, FixupGenerator, has_batch_norm
from lit_gen.networks.fixup import InvertedBottleneck, accepts


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_by_hand():
    def block(channels, expansion=2, group=16):
        hidden = expansion * channels
        return (channels + 1) * hidden + (9 * min(group, hidden) + 1) * hidden + hidden * channels

    widths = [16, 32, 64, 128]  # from 32 x 32 to 4 x 4
    blocks = sum(2 * block(width) for width in widths) + sum(a * b for a, b in pairwise(widths))
    generator, discriminator = FixupGenerator((3, 32, 32), 10, width=16), FixupDiscriminator((3, 32, 32), width=16)
    assert count(generator) == 10 * 128 + 128 * 4 * 4 + blocks + 16 * 3
    assert count(discriminator) == 3 * 16 + blocks + 128 * 4 * 4 + 128 + 1
    assert count(FixupGenerator((3, 32, 32), 10, 5, width=16)) - count(generator) == 5 * 10 + 10 * 128
    assert count(FixupDiscriminator((3, 32, 32), 5, width=16)) - count(discriminator) == 5 * 128
    wide = FixupDiscriminator((3, 8, 8), width=12, blocks=1, expansion=3, group_width=4)
    assert count(wide) == 36 + block(12, 3, 4) + 12 * 24 + block(24, 3, 4) + 24 * 16 + 25
    assert not has_batch_norm(generator)


@pytest.mark.parametrize(
    ("size", "seed"), {(8, 8): (4, 4), (28, 28): (7, 7), (20, 24): (5, 6), (64, 64): (4, 4), (256, 256): (4, 4)}.items()
)
def test_sizes_and_their_seeds(size, seed):
    generator, discriminator = FixupGenerator((2, *size), 3, width=1), FixupDiscriminator((2, *size), width=1)
    assert generator.basis.shape[1:] == seed
    images = generator(torch.randn(2, 3))
    assert images.shape == (2, 2, *size)
    assert discriminator(images).shape == (2,)
    assert discriminator.layers[-2].kernel_size == seed


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 30, 30), (1, 8, 16), (1, 512, 512), (3, 36, 36), (8,)])
def test_other_sizes_are_refused(shape):
    assert not accepts(shape)
    pattern = rf"image_shape=\({str(shape)[1:-1]}\): {{}} needs \(C, height, width\), both 4, 5, 6 or 7 times"
    with pytest.raises(ValueError, match=pattern.format("FixupGenerator")):
        FixupGenerator(shape, 3)
    with pytest.raises(ValueError, match=pattern.format("FixupDiscriminator")):
        FixupDiscriminator(shape)


def test_wrong_sizes_of_layers_are_named():
    with pytest.raises(ValueError, match=r"blocks=0.*: FixupGenerator needs at least 1"):
        FixupGenerator((1, 8, 8), 3, blocks=0)
    with pytest.raises(ValueError, match=r"group_width=16: it must divide expansion \* channels = 40"):
        FixupDiscriminator((1, 8, 8), width=20)


def test_a_block_is_its_formula():
    block = InvertedBottleneck(4, total=1, expansion=2, group_width=2).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    first, _, grouped, _, last = block.residual
    h = F.leaky_relu(torch.einsum("oi,nihw->nohw", first.weight[:, :, 0, 0], x) + first.bias[:, None, None], 0.2)
    parts = [
        F.conv2d(h[:, 2 * g : 2 * g + 2], grouped.weight[2 * g : 2 * g + 2], grouped.bias[2 * g : 2 * g + 2], padding=1)
        for g in range(4)
    ]
    h = F.leaky_relu(torch.cat(parts, 1), 0.2)
    torch.testing.assert_close(block(x), x + torch.einsum("oi,nihw->nohw", last.weight[:, :, 0, 0], h))


def test_blocks_start_as_the_identity_with_weights_scaled_by_their_number():
    for total in (1, 16):
        torch.manual_seed(0)
        block = InvertedBottleneck(64, total)
        x = torch.randn(2, 64, 4, 4)
        assert torch.equal(block(x), x)
        gain = math.sqrt(2 / 1.04) * total ** (-1 / 4)
        for layer, fan_in in ((block.residual[0], 64), (block.residual[2], 9 * 16)):
            assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.03)
            assert layer.bias.abs().max() == 0


def test_the_first_step_moves_the_output_as_far_at_any_depth():
    """What Fixup is for: without the scaling the second network would move 8 times as far."""

    def moved(total):
        torch.manual_seed(0)
        layers = nn.Sequential(*[InvertedBottleneck(32, total) for _ in range(total)]).double()
        x, target = torch.randn(16, 32, 4, 4).double(), torch.randn(16, 32, 4, 4).double()
        before = (layers(x) * target).mean()
        gradients = torch.autograd.grad(before, list(layers.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(layers.parameters(), gradients, strict=True):
                parameter.add_(gradient, alpha=1e-3)
        return ((layers(x) * target).mean() - before).item()

    assert moved(64) / moved(8) == pytest.approx(1.0, abs=0.25)


def test_variance_keeps_its_scale_through_the_generator():
    """Interpolation smooths the first, white map once; nothing else changes the variance."""
    torch.manual_seed(0)
    variances = []
    for _ in range(8):
        generator = FixupGenerator((3, 64, 64), 32, width=8, blocks=2)
        x = generator.basis * generator.coefficients(torch.randn(8, 32))[:, :, None, None]
        path = [x.var()]
        for layer in generator.layers[:-1]:
            x = layer(x)
            path.append(x.var())
        variances.append(torch.stack(path))
    mean = torch.stack(variances).mean(0)
    assert mean[0].item() == pytest.approx(1.0, abs=0.2)
    assert mean.min() > 0.35
    assert mean.max() < 1.2


def test_variance_and_gradients_keep_their_scale_through_many_trained_blocks():
    """With last convolutions as large as the others, as training may make them."""
    torch.manual_seed(0)
    total = 32
    blocks = [InvertedBottleneck(32, total) for _ in range(total)]
    for block in blocks:
        nn.init.normal_(block.residual[-1].weight, 0.0, total**-0.25 / math.sqrt(64))
    x = torch.randn(16, 32, 8, 8, requires_grad=True)
    y = nn.Sequential(*blocks)(x)
    assert 1.0 < y.var() < 1.5
    cotangent = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, cotangent)
    assert 0.9 < gradient.norm() / cotangent.norm() < 1.3


def test_gradients_reach_the_first_layer_of_a_deep_critic():
    torch.manual_seed(0)
    ratios = []
    for blocks in (1, 8):
        critic = FixupDiscriminator((3, 32, 32), width=8, blocks=blocks)
        x = F.interpolate(torch.randn(8, 3, 4, 4), (32, 32), mode="bilinear").requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x)
        ratios.append(gradient.norm())
    assert 0.3 < ratios[0] / ratios[1] < 3


@pytest.mark.parametrize("penalty", [R1(weight=2.0), R2(weight=2.0)])
@pytest.mark.parametrize("classes", [0, 3])
def test_penalties_differentiate_twice(penalty, classes):
    """The penalty's gradient in the weights against central differences along random directions."""
    torch.manual_seed(0)
    critic = FixupDiscriminator((1, 8, 8), classes, width=2, blocks=1).double()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    labels = [torch.arange(4) % 3] if classes else []
    real, fake, epsilon = torch.randn(4, 1, 8, 8).double(), torch.randn(4, 1, 8, 8).double(), torch.rand(4).double()

    def value():
        return penalty(lambda x: critic(x, *labels), real, fake, epsilon)

    parameters = list(critic.parameters())
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    for _ in range(3):
        direction = [torch.randn_like(p) for p in parameters]
        slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None)
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                for parameter, d in zip(parameters, direction, strict=True):
                    parameter.add_(d, alpha=step)
            values.append(value().item())
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(d, alpha=1e-6)
        assert slope.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)
