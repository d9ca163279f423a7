"""What every network promises, with and without labels: shapes, ranges, precisions, copies, memory formats."""

import copy
from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser

from lit_gen.networks import (
    DCGANDecoder,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    Decoder,
    Discriminator,
    Encoder,
    FixupDiscriminator,
    FixupGenerator,
    Generator,
    MaxoutMLPDiscriminator,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    auto_decoder,
    auto_discriminator,
    auto_encoder,
    auto_generator,
)

LATENT, CLASS_COUNT = 3, 5
CLASSES = {
    Generator: [MLPGenerator, DCGANGenerator, ResNetGenerator, FixupGenerator],
    Discriminator: [
        MLPDiscriminator,
        MaxoutMLPDiscriminator,
        DCGANDiscriminator,
        ResNetDiscriminator,
        FixupDiscriminator,
    ],
    Encoder: [MLPEncoder, DCGANEncoder],
    Decoder: [MLPDecoder, DCGANDecoder],
}
SHAPES = {
    "MLP": [(2,), (1, 8, 8), (5, 7, 9)],
    "Maxout": [(2,), (1, 7, 9)],
    "DCGAN": [(1, 28, 28), (3, 32, 32), (5, 8, 12)],
    "ResNet": [(3, 32, 32), (1, 48, 48)],
    "Fixup": [(1, 28, 28), (3, 32, 32), (5, 8, 12)],
}
IMAGE_NORMS = ["batch", "layer", "instance", "none"]
NORMS = {"MLP": ["batch", "layer", "none"], "DCGAN": IMAGE_NORMS, "ResNet": IMAGE_NORMS}
JOINED = ["concatenation", "embedding"]
CONDITIONS = {
    Generator: [*JOINED, "batch_norm"],
    Discriminator: [*JOINED, "projection", "auxiliary"],
    Encoder: JOINED,
    Decoder: JOINED,
}


def cases():
    for base, classes in CLASSES.items():
        for make in classes:
            family = next(name for name in SHAPES if make.__name__.startswith(name))
            for shape in SHAPES[family]:
                width = 2 if shape[1:] == (48, 48) else 4
                for norm in NORMS.get(family, [None]):
                    options = {"width": width, **({"norm": norm} if norm else {})}
                    yield pytest.param(base, partial(make, **options), shape, id=f"{make.__name__}-{shape}-{norm}")
                for condition in JOINED if make is FixupGenerator else CONDITIONS[base]:
                    options = {"num_classes": CLASS_COUNT, "condition": condition, "width": width}
                    if family in NORMS:
                        options["norm"] = "batch" if condition == "batch_norm" else "none"
                    yield pytest.param(base, partial(make, **options), shape, id=f"{make.__name__}-{shape}-{condition}")


CASES = list(cases())


def build(base, make, shape):
    torch.manual_seed(0)
    return make(shape) if base is Discriminator else make(shape, LATENT)


def inputs(base, shape, n=4):
    return torch.randn(n, LATENT) if base in (Generator, Decoder) else torch.rand(n, *shape) * 2 - 1


def outputs(network, x):
    labels = [torch.arange(len(x)) % network.num_classes] if network.num_classes else []
    y = network(x, *labels)
    return y if isinstance(y, tuple) else (y,)


def expected_shapes(base, shape, n=4):
    return {Generator: [(n, *shape)], Discriminator: [(n,)], Encoder: [(n, LATENT)] * 2, Decoder: [(n, *shape)]}[base]


@pytest.mark.parametrize(("base", "make", "shape"), CASES)
def test_shapes_and_gradients(base, make, shape):
    network = build(base, make, shape)
    assert isinstance(network, base)
    results = outputs(network, inputs(base, shape))
    assert [tuple(y.shape) for y in results] == expected_shapes(base, shape)
    if base is Discriminator and network.classifies:
        results = network.classify(inputs(base, shape))
        assert [tuple(y.shape) for y in results] == [(4,), (4, CLASS_COUNT)]
    sum(y.square().sum() for y in results).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("base", "make", "shape"), CASES)
def test_double_and_half_precision_and_copies(base, make, shape):
    network, x = build(base, make, shape).eval(), inputs(base, shape)
    exact = outputs(copy.deepcopy(network).double(), x.double())
    for y, reference in zip(outputs(network, x), exact, strict=True):
        assert reference.dtype == torch.float64
        torch.testing.assert_close(y.double(), reference, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        for y, reference in zip(outputs(network, x), exact, strict=True):
            torch.testing.assert_close(y.double(), reference, rtol=0.1, atol=0.1)
    half = outputs(copy.deepcopy(network).bfloat16(), x.bfloat16())
    assert all(y.isfinite().all() for y in half)
    if base is Encoder:
        assert half[1].dtype == torch.float32


@pytest.mark.parametrize(("base", "make", "shape"), [case for case in CASES if len(case.values[2]) == 3])
def test_channels_last_changes_no_value(base, make, shape):
    network, x = build(base, make, shape).double().eval(), inputs(base, shape).double()
    expected = outputs(network, x)
    x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    for y, reference in zip(outputs(network.to(memory_format=torch.channels_last), x), expected, strict=True):
        torch.testing.assert_close(y, reference)


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
    ("shape", "expected"), [((1, 28, 28), "DCGAN"), ((3, 64, 128), "DCGAN"), ((1, 30, 30), "MLP"), ((2,), "MLP")]
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
            assert [tuple(y.shape) for y in results] == expected_shapes(base, shape, n=2)


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
        arguments = [f"--network={make.__name__}", f"--network.{shape}=[3,32,32]", "--network.width=4"]
        arguments += [] if base is Discriminator else ["--network.latent_dim=3"]
        arguments += ["--network.norm=layer"] if make.__name__.startswith(tuple(NORMS)) else []
        network = parser.instantiate(parser.parse_args(arguments)).network
        assert type(network) is make
        assert getattr(network, shape) == (3, 32, 32)
