"""Every network with labels or without, in every norm: a new class is one line in CLASSES, its shapes one in SHAPES."""

import copy
import math
from functools import partial

import pytest
import torch

from lit_gen.networks import (
    ConvDecoder,
    ConvEncoder,
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
    PatchGAN,
    ResNetDiscriminator,
    ResNetGenerator,
    ResNetTranslator,
    SpatialDecoder,
    SpatialEncoder,
    Translator,
    UNetTranslator,
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
        PatchGAN,
    ],
    Encoder: [MLPEncoder, DCGANEncoder],
    Decoder: [MLPDecoder, DCGANDecoder],
    Translator: [ResNetTranslator, UNetTranslator],
    SpatialEncoder: [ConvEncoder],
    SpatialDecoder: [ConvDecoder],
}
SHAPES = {
    "MLP": [(2,), (1, 8, 8), (5, 7, 9)],
    "Maxout": [(2,), (1, 7, 9)],
    "DCGAN": [(1, 28, 28), (3, 32, 32), (5, 8, 12)],
    "ResNetTranslator": [(3, 28, 28), (1, 32, 64), (2, 8, 8), (5, 30, 36)],
    "ResNet": [(4, 8, 8), (3, 32, 32), (1, 48, 48)],
    "Fixup": [(1, 28, 28), (3, 32, 32), (5, 8, 12)],
    "PatchGAN": [(1, 28, 28), (5, 8, 12)],
    "UNet": [(3, 28, 28), (1, 32, 64), (2, 8, 8), (5, 30, 36)],
    "Conv": [(1, 8, 8), (3, 16, 12), (2, 7, 9)],
}
IMAGE_NORMS = ["batch", "layer", "instance", "none"]
NORMS = {
    "MLP": ["batch", "layer", "none"],
    "DCGAN": IMAGE_NORMS,
    "ResNetTranslator": IMAGE_NORMS,
    "ResNet": IMAGE_NORMS,
    "PatchGAN": IMAGE_NORMS,
    "UNet": IMAGE_NORMS,
}
UNCONDITIONAL = [PatchGAN, ResNetTranslator, UNetTranslator, ConvEncoder, ConvDecoder]
CONVOLUTIONS = {"widths": (4, 8), "blocks": 1, "groups": 2}  # of an autoencoder, which halve once
JOINED = ["concatenation", "embedding"]
CONDITIONS = {
    Generator: [*JOINED, "batch_norm"],
    Discriminator: [*JOINED, "projection", "auxiliary"],
    Encoder: JOINED,
    Decoder: JOINED,
}
# Further options that change the layers.
OPTIONS = [
    (MLPDiscriminator, (2,), {"minibatch": "discrimination"}),
    (DCGANDiscriminator, (3, 32, 32), {"minibatch": "stddev", "norm": "none"}),
    (ResNetDiscriminator, (3, 32, 32), {"spectral_norm": True}),
]


def family_of(make):
    return next(name for name in SHAPES if make.__name__.startswith(name))


def cases():
    for base, classes in CLASSES.items():
        for make in classes:
            family = family_of(make)
            for shape in SHAPES[family]:
                width = 2 if shape[1:] == (48, 48) else 4
                for norm in NORMS.get(family, [None]):
                    options = CONVOLUTIONS if family == "Conv" else {"width": width, **({"norm": norm} if norm else {})}
                    yield pytest.param(base, partial(make, **options), shape, id=f"{make.__name__}-{shape}-{norm}")
                if make in UNCONDITIONAL:
                    continue
                for condition in JOINED if make is FixupGenerator else CONDITIONS[base]:
                    options = {"num_classes": CLASS_COUNT, "condition": condition, "width": width}
                    if family in NORMS:
                        options["norm"] = "batch" if condition == "batch_norm" else "none"
                    yield pytest.param(base, partial(make, **options), shape, id=f"{make.__name__}-{shape}-{condition}")


OPTIONAL = [
    pytest.param(Discriminator, partial(make, width=4, **options), shape, id=f"{make.__name__}-{'-'.join(options)}")
    for make, shape, options in OPTIONS
]
CASES = [*cases(), *OPTIONAL]


def smallest(make):
    """The shape of its smallest images, for what doesn't depend on the size."""
    return min((shape for shape in SHAPES[family_of(make)] if len(shape) == 3), key=math.prod)


SMALL = [case for case in cases() if case.values[2] == smallest(case.values[1].func)]


def build(base, make, shape):
    torch.manual_seed(0)
    return make(shape) if base in (Discriminator, Translator) else make(shape, LATENT)


def inputs(base, shape, n=4):
    if base is SpatialDecoder:
        return torch.randn(n, LATENT, *halved(shape))
    return torch.randn(n, LATENT) if base in (Generator, Decoder) else torch.rand(n, *shape) * 2 - 1


def outputs(network, x, labels=None):
    labels = torch.arange(len(x)) % network.num_classes if network.num_classes and labels is None else labels
    y = network(x, *([] if labels is None else [labels]))
    return y if isinstance(y, tuple) else (y,)


def expected_shapes(base, make, shape, n=4):
    if getattr(make, "func", make) is PatchGAN:  # one convolution halves, two more take a pixel off each
        return [(n, shape[1] // 2 - 2, shape[2] // 2 - 2)]
    if base is SpatialEncoder:
        return [(n, LATENT, *halved(shape))]
    image, code = (n, *shape), (n, LATENT)
    return {Discriminator: [(n,)], Encoder: [code] * 2}.get(base, [image])


def halved(shape):
    return [-(-side // 2) for side in shape[1:]]


def stirred(network):
    """A copy in float64 whose weights are all off their first values, many of which are zero or tiny."""
    network = copy.deepcopy(network).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network
