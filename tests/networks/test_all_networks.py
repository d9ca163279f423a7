"""What belongs to one family of networks alone: ranges, linear outputs, bounds, defaults, the command line."""

from functools import partial

import pytest
import torch
from every_network import CLASS_COUNT, CLASSES, LATENT, NORMS, build, expected_shapes, inputs, outputs
from jsonargparse import ArgumentParser

from lit_gen.networks import (
    DCGANDiscriminator,
    Decoder,
    Discriminator,
    Encoder,
    Generator,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetDiscriminator,
    SpatialDecoder,
    SpatialEncoder,
    Translator,
    auto_decoder,
    auto_discriminator,
    auto_encoder,
    auto_generator,
)


@pytest.mark.parametrize("make", CLASSES[Generator])
def test_generated_images_are_in_range_and_points_are_not_squashed(make):
    generator = build(Generator, partial(make, width=4), (3, 32, 32))
    assert generator(100 * torch.randn(8, LATENT)).abs().max() <= 1
    points = build(Generator, MLPGenerator, (2,))
    assert points(1000 * torch.randn(8, LATENT)).abs().max() > 1


@pytest.mark.parametrize("make", CLASSES[Decoder])
def test_decoders_are_linear_at_the_end(make):
    decoder = build(Decoder, make, (2, 8, 8))
    last = [module for module in decoder.modules() if not list(module.children())][-1]
    with torch.no_grad():
        last.bias.fill_(5.0)
    assert decoder(torch.randn(8, LATENT)).mean() > 2


@pytest.mark.parametrize("make", CLASSES[Encoder])
def test_encoders_bound_their_log_scale(make):
    encoder = build(Encoder, partial(make, width=4, norm="none"), (1, 8, 8))
    mean, log_scale = encoder(1e6 * torch.randn(8, 1, 8, 8))
    assert log_scale.abs().max() < 12
    assert mean.abs().max() > 12


@pytest.mark.parametrize("norm", ["layer", "instance", "none"])
@pytest.mark.parametrize("make", [DCGANDiscriminator, ResNetDiscriminator])
def test_without_batch_norm_a_score_depends_on_one_image(make, norm):
    discriminator = build(Discriminator, partial(make, width=4, norm=norm), (3, 32, 32))
    x = inputs(Discriminator, (3, 32, 32))
    torch.testing.assert_close(discriminator(x)[:1], discriminator(x[:1]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 28, 28), "DCGAN"), ((3, 64, 128), "DCGAN"), ((1, 30, 31), "DCGAN"), ((1, 7, 30), "MLP"), ((2,), "MLP")],
)
def test_auto_networks_go_by_the_shape(shape, expected):
    for base, make in [
        (Generator, auto_generator),
        (Discriminator, auto_discriminator),
        (Encoder, auto_encoder),
        (Decoder, auto_decoder),
    ]:
        for factory in (make, partial(make, num_classes=CLASS_COUNT)):
            network = build(base, factory, shape)
            assert type(network).__name__ == expected + base.__name__
            results = outputs(network, inputs(base, shape, n=2))
            assert [tuple(y.shape) for y in results] == expected_shapes(base, make, shape, n=2)


@pytest.mark.parametrize(
    ("shape", "told"), [((1, 28, 28), 0), ((3, 256, 256), 0), ((1, 30, 30), 0), ((1, 7, 7), 1), ((2,), 0)]
)
def test_an_mlp_for_images_is_said(shape, told, recwarn):
    auto_encoder(shape, 2)
    messages = [str(warning.message) for warning in recwarn]
    assert [text.startswith(f"MLPEncoder for images of {shape[-1]} x {shape[-1]}") for text in messages] == [
        True
    ] * told


@pytest.mark.parametrize("base", CLASSES)
def test_bases_are_abstract(base):
    with pytest.raises(TypeError, match="abstract"):
        build(base, base, (2,))


@pytest.mark.parametrize("shape", [(), (28, 28), (1, 0, 8), (1, 1, 8, 8)])
def test_wrong_shapes_are_named(shape):
    for base, make in [
        (Generator, MLPGenerator),
        (Discriminator, MLPDiscriminator),
        (Encoder, MLPEncoder),
        (Decoder, MLPDecoder),
    ]:
        with pytest.raises(ValueError, match=r"_shape=\(.*\): MLP.* needs \(C, H, W\) or \(D,\)"):
            build(base, make, shape)


def test_wrong_sizes_of_layers_are_named():
    with pytest.raises(ValueError, match="latent_dim=0: MLPGenerator"):
        MLPGenerator((2,), 0)
    with pytest.raises(ValueError, match="width=0"):
        MLPDiscriminator((2,), width=0)
    with pytest.raises(ValueError, match="depth=-1"):
        MLPDiscriminator((2,), depth=-1)
    for make in (DCGANDiscriminator, ResNetDiscriminator):
        with pytest.raises(ValueError, match=f"width=0: {make.__name__}"):
            make((3, 32, 32), width=0)


@pytest.mark.parametrize(("base", "classes"), CLASSES.items())
def test_the_command_line_configures_every_network(base, classes):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "network")
    for make in classes:
        shape = "output_shape" if base is Decoder else "image_shape"
        arguments = [f"--network={make.__name__}", f"--network.{shape}=[3,32,32]"]
        if base in (SpatialDecoder, SpatialEncoder):
            arguments += ["--network.widths=[4,8]", "--network.groups=2", "--network.channels=3"]
        else:
            arguments += ["--network.width=4"]
            arguments += [] if base in (Discriminator, Translator) else ["--network.latent_dim=3"]
        arguments += ["--network.norm=layer"] if make.__name__.startswith(tuple(NORMS)) else []
        network = parser.instantiate(parser.parse_args(arguments)).network
        assert type(network) is make
        assert getattr(network, shape) == (3, 32, 32)
