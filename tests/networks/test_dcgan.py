import pytest
import torch
from torch import nn

from lit_gen.networks import DCGANDecoder, DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from lit_gen.networks.dcgan import accepts

SEEDS = {
    (8, 8): (2, 2),
    (12, 12): (3, 3),
    (16, 16): (4, 4),
    (20, 20): (5, 5),
    (24, 24): (3, 3),
    (28, 28): (7, 7),
    (32, 32): (4, 4),
    (36, 36): (9, 9),
    (48, 48): (3, 3),
    (56, 56): (7, 7),
    (64, 64): (4, 4),
    (100, 100): (25, 25),
    (128, 128): (4, 4),
    (8, 128): (2, 32),
    (64, 28): (16, 7),
    (32, 48): (4, 6),
}


@pytest.mark.parametrize(("size", "seed"), SEEDS.items())
@pytest.mark.parametrize("channels", [1, 5])
def test_sizes_and_their_seeds(size, seed, channels):
    generator = DCGANGenerator((channels, *size), 2, width=1, norm="none")
    discriminator = DCGANDiscriminator((channels, *size), width=1, norm="none")
    assert generator.trunk[1].unflattened_size[1:] == seed
    images = generator(torch.randn(2, 2))
    assert images.shape == (2, channels, *size)
    assert discriminator(images).shape == (2,)
    convolutions = [layer for layer in discriminator.trunk if isinstance(layer, nn.Conv2d)]
    assert [size[0] >> len(convolutions), size[1] >> len(convolutions)] == list(seed)


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (8, 4), (7, 512)])
def test_other_sizes_are_refused_with_what_is_needed(size):
    shape = (1, *size)
    assert not accepts(shape)
    pattern = rf"shape=\(1, {size[0]}, {size[1]}\): {{}} needs .* of at least 8"
    with pytest.raises(ValueError, match=pattern.format("DCGANDiscriminator")):
        DCGANDiscriminator(shape)
    for make in (DCGANGenerator, DCGANEncoder, DCGANDecoder):
        with pytest.raises(ValueError, match=pattern.format(make.__name__)):
            make(shape, 2)


def test_points_are_refused():
    assert not accepts((16,))
    with pytest.raises(ValueError, match=r"image_shape=\(16,\): DCGANGenerator"):
        DCGANGenerator((16,), 2)


def test_widths_double_towards_the_seed_up_to_eight_times():
    convolutions = [m for m in DCGANDiscriminator((3, 128, 128), width=2).trunk if isinstance(m, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [2, 4, 8, 16, 16]
    generator = DCGANGenerator((3, 128, 128), 5, width=2)
    assert generator.trunk[1].unflattened_size == (16, 4, 4)
    transposed = [m for m in generator.trunk if isinstance(m, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in transposed] == [16, 8, 4, 2, 3]


def test_the_64_pixel_networks_have_the_published_number_of_parameters():
    # PyTorch's DCGAN tutorial: 3,576,704 and 2,765,568 without the biases of the output layers,
    # whose seed and score layers are convolutions of kernel 4 with as many weights as the linear ones here
    def count(network):
        return sum(parameter.numel() for parameter in network.parameters())

    first_bias = 64  # the tutorial's discriminator has none on its first layer
    assert count(DCGANGenerator((3, 64, 64), 100)) == 3_576_704 + 3
    assert count(DCGANDiscriminator((3, 64, 64), norm="batch")) == 2_765_568 + 1 + first_bias


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_no_norm_on_the_images_side_and_biases_only_without_norm(norm):
    for network in (
        DCGANGenerator((3, 32, 32), 2, width=2, norm=norm),
        DCGANDecoder((3, 32, 32), 2, width=2, norm=norm),
        DCGANDiscriminator((3, 32, 32), width=2, norm=norm),
        DCGANEncoder((3, 32, 32), 2, width=2, norm=norm),
    ):
        layers = [layer for layer in network.trunk if not isinstance(layer, (nn.Unflatten, nn.Flatten))]
        norms = [layer for layer in layers if isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d))]
        grows = isinstance(network, (DCGANGenerator, DCGANDecoder))
        assert len(norms) == (0 if norm == "none" else 3 if grows else 2)
        for layer, follower in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                assert (layer.bias is None) == (follower in norms)
        assert isinstance(layers[1], nn.LeakyReLU) or grows


def test_initial_weights_are_those_of_the_paper():
    torch.manual_seed(0)
    generator = DCGANGenerator((3, 32, 32), 100, width=16)
    for layer in generator.trunk:
        if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert abs(layer.weight.mean().item()) < 2e-3
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.02)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.5)
            assert layer.bias.abs().max() == 0
    assert generator.trunk[-1].bias.abs().max() == 0


def test_a_flat_seed_leaves_no_checkerboard():
    """Stride 2 divides kernel 4: away from the border every pixel of a constant map gets as many taps."""
    generator = DCGANDecoder((1, 32, 32), 1, width=1, norm="none")
    layer = generator.trunk[-1]
    nn.init.ones_(layer.weight)
    inner = layer(torch.ones(1, 1, 16, 16))[0, 0, 2:-2, 2:-2]
    assert inner.max() == inner.min() == 4


def test_decoder_and_generator_share_their_layers():
    generator, decoder = DCGANGenerator((3, 32, 32), 4, width=2), DCGANDecoder((3, 32, 32), 4, width=2, norm="batch")
    decoder.load_state_dict(generator.state_dict())
    z = torch.randn(5, 4)
    torch.testing.assert_close(generator(z), torch.tanh(decoder(z)))
