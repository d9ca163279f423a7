from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lit_gen.networks import ConditionalBatchNorm, ResNetDiscriminator, ResNetGenerator, has_batch_norm
from lit_gen.networks.resnet import DownBlock, FirstDownBlock, UpBlock


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(inputs, outputs, kernel):
    return outputs * (inputs * kernel**2 + 1)


def test_parameter_counts_are_those_of_the_published_layers():
    # arXiv:1704.00028, appendix F and its code, layer by layer, at 128 channels
    block = 2 * convolution(128, 128, 3)
    up = 2 * 2 * 128 + block + convolution(128, 128, 1)
    generator = (128 * 2048 + 2048) + 3 * up + 2 * 128 + convolution(128, 3, 3)
    first = convolution(3, 128, 3) + convolution(128, 128, 3) + convolution(3, 128, 1)
    discriminator = first + (block + convolution(128, 128, 1)) + 2 * block + (128 + 1)
    assert count(ResNetGenerator((3, 32, 32), 128)) == generator == 1_204_483
    assert count(ResNetDiscriminator((3, 32, 32))) == discriminator == 1_053_825


def test_up_block_is_the_papers_whose_shortcut_convolves_the_large_map():
    block = UpBlock(6, 5, "layer").double()
    x = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    norm_1, _, _, layer, norm_2, _, conv_2 = block.residual

    def conv_1(map):
        return F.conv2d(map, layer.weight, layer.bias, padding=1)

    def up(map):
        return map.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    residual = conv_2(F.relu(norm_2(conv_1(up(F.relu(norm_1(x)))))))
    torch.testing.assert_close(block(x), block.shortcut[0](up(x)) + residual)


def test_down_block_is_the_papers_whose_shortcut_convolves_the_large_map():
    block = DownBlock(6, 5, "layer", down=True).double()
    x = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    norm_1, _, conv_1, norm_2, _, layer = block.residual

    def conv_2(map):
        return F.conv2d(map, layer.weight, layer.bias, padding=1)

    def down(map):
        return map.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))

    residual = conv_2(F.relu(norm_2(conv_1(F.relu(norm_1(x))))))
    torch.testing.assert_close(block(x), down(block.shortcut[1](x)) + down(residual))
    plain = DownBlock(6, 6, "none", down=False).double()
    nn.init.zeros_(plain.residual[-1].weight)
    torch.testing.assert_close(plain(x), x)


def test_first_block_sees_negative_pixels():
    """No activation in front: a ReLU there would lose the dark half of the image."""
    block = FirstDownBlock(3, 6)
    x = -torch.rand(2, 3, 8, 8)
    assert block(x).shape == (2, 6, 4, 4)
    for path in (block.residual, block.shortcut):
        assert not torch.allclose(path(x), path(torch.zeros_like(x)))


def test_initial_weights_are_he_in_the_blocks_and_glorot_elsewhere():
    torch.manual_seed(0)
    generator = ResNetGenerator((3, 32, 32), 64, width=32)

    def variance(layer):
        return layer.weight.var().item()

    block = generator.layers[2]
    assert variance(block.residual[3]) == pytest.approx(4 / (9 * 64), rel=0.05)
    assert variance(block.residual[6]) == pytest.approx(4 / (9 * 64), rel=0.05)
    assert variance(block.shortcut[0]) == pytest.approx(2 / 64, rel=0.1)
    assert variance(generator.layers[-1]) == pytest.approx(2 / (9 * 35), rel=0.1)
    assert variance(generator.layers[0]) == pytest.approx(2 / (64 + 512), rel=0.05)
    biases = [p for name, p in generator.named_parameters() if name.endswith("bias")]
    assert max(bias.abs().max() for bias in biases) == 0


def test_the_generator_is_normed_and_the_critic_is_not():
    assert has_batch_norm(ResNetGenerator((1, 32, 32), 2, width=2))
    assert not has_batch_norm(ResNetDiscriminator((1, 32, 32), width=2))
    norms = [
        m for m in ResNetDiscriminator((1, 32, 32), width=2, norm="batch").modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert len(norms) == 6


TABLES = {  # arXiv:1802.05957, tables 4 and 5, the authors' code for 64 pixels; arXiv:1809.11096, table 8, for 256
    48: (6, [512, 256, 128, 64], [64, 128, 256, 512, 1024], 4),
    64: (4, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], 5),
    128: (4, [1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024], 5),
    256: (4, [1024, 1024, 512, 512, 256, 128, 64], [64, 128, 256, 512, 512, 1024, 1024], 6),
}


@pytest.mark.parametrize(("side", "table"), TABLES.items())
def test_parameter_counts_of_the_larger_sizes_are_those_of_the_tables(side, table):
    seed, growing, shrinking, halvings = table
    generator = 129 * growing[0] * seed**2 + 2 * 64 + convolution(64, 3, 3)
    for a, b in pairwise(growing):
        generator += 2 * (a + b) + convolution(a, b, 3) + convolution(b, b, 3) + convolution(a, b, 1)
    discriminator = convolution(3, 64, 3) + convolution(64, 64, 3) + convolution(3, 64, 1) + shrinking[-1] + 1
    for block, (a, b) in enumerate(pairwise(shrinking), start=1):
        shortcut = convolution(a, b, 1) if block < halvings or a != b else 0
        discriminator += convolution(a, a, 3) + convolution(a, b, 3) + shortcut
    with torch.device("meta"):
        assert count(ResNetGenerator((3, side, side), 128)) == generator
        critic = ResNetDiscriminator((3, side, side))
        assert count(critic) == discriminator
        assert critic.blocks(torch.empty(1, 3, side, side)).shape == (1, shrinking[-1], *[side >> halvings] * 2)


def test_the_32_pixel_generator_of_sngan_has_its_published_number_of_parameters():
    with torch.device("meta"):
        assert count(ResNetGenerator((3, 32, 32), 128, width=256)) == 4_276_739


def test_the_28_pixel_networks_narrow_as_they_grow():
    """Seed 7 px of 144 channels, then 96 at 14 and 48 at 28; the discriminator the other way round."""
    with torch.device("meta"):
        generator, critic = ResNetGenerator((1, 28, 28), 100), ResNetDiscriminator((1, 28, 28))
        ups = sum(
            2 * (a + b) + convolution(a, b, 3) + convolution(b, b, 3) + convolution(a, b, 1)
            for a, b in pairwise([144, 96, 48])
        )
        assert count(generator) == 101 * 144 * 49 + ups + 2 * 48 + convolution(48, 1, 3)
        downs = sum(
            convolution(a, a, 3) + convolution(a, b, 3) + convolution(a, b, 1) for a, b in [(48, 96), (96, 144)]
        )
        first = convolution(1, 48, 3) + convolution(48, 48, 3) + convolution(1, 48, 1)
        assert count(critic) == first + downs + 145
        assert critic.blocks(torch.empty(1, 1, 28, 28)).shape == (1, 144, 7, 7)


@pytest.mark.parametrize("side", [28, 48, 64, 128])
def test_other_sizes_at_any_number_of_channels(side):
    generator, critic = ResNetGenerator((2, side, side), 3, width=1), ResNetDiscriminator((2, side, side), width=1)
    images = generator(torch.randn(2, 3))
    assert images.shape == (2, 2, side, side)
    assert critic(images).shape == (2,)


def test_sum_pooling_sums_the_positions_whose_mean_wgan_gp_takes():
    torch.manual_seed(0)
    critics = [ResNetDiscriminator((3, 32, 32), width=2, pooling=pooling) for pooling in ("mean", "sum")]
    critics[1].load_state_dict(critics[0].state_dict())
    mean, total = (critic.features(torch.ones(1, 3, 32, 32), None) for critic in critics)
    torch.testing.assert_close(64 * mean, total)
    with pytest.raises(ValueError, match="pooling='max': ResNetDiscriminator takes 'mean' or 'sum'"):
        ResNetDiscriminator((3, 32, 32), pooling="max")


def test_conditional_batch_norm_is_in_the_blocks_and_not_in_front_of_the_output():
    generator = ResNetGenerator((3, 32, 32), 3, 5, width=2)
    assert [type(m) for m in generator.layers if not isinstance(m, UpBlock)][2] is nn.BatchNorm2d
    assert sum(isinstance(m, ConditionalBatchNorm) for m in generator.modules()) == 6
    plain = ResNetGenerator((3, 32, 32), 3, width=2)
    assert count(generator) - count(plain) == 6 * 4 * (2 + 2)
    assert ResNetDiscriminator((3, 32, 32), 5, width=2).head.weight.shape == (5, 2)


@pytest.mark.parametrize("shape", [(3, 64, 32), (3, 32, 28), (1, 30, 30), (2,)])
def test_other_sizes_are_refused(shape):
    pattern = r"image_shape=\(.*: {} needs \(C, side, side\) with a side of 8, 16, 28, 32, 48, 64, 128, 256"
    with pytest.raises(ValueError, match=pattern.format("ResNetDiscriminator")):
        ResNetDiscriminator(shape)
    with pytest.raises(ValueError, match=pattern.format("ResNetGenerator")):
        ResNetGenerator(shape, 2)
