"""Autoencoders with a discriminator: the step, its invariances, what they are used for, what they refuse."""

from functools import partial

import pytest
from invariances import assert_invariant

from lit_gen import VQGAN, Autoencoder, AutoencoderKL
from lit_gen.losses import R1, NonSaturating
from lit_gen.modules import ClassifierFeatures, DiscriminatorFeatures
from lit_gen.networks import FSQ, LFQ, ConvDecoder, ConvEncoder, GaussianBottleneck, PatchGAN, VectorQuantizer

SHAPE = (1, 8, 8)
SMALL = {
    "encoder": partial(ConvEncoder, widths=(8, 8), blocks=1, groups=4, attention=False),
    "decoder": partial(ConvDecoder, widths=(8, 8), blocks=1, groups=4, attention=False),
}
JUDGED = {**SMALL, "discriminator": partial(PatchGAN, width=8, norm="none"), "loss": NonSaturating()}
PARTS = {"autoencoder_accumulate": 2, "discriminator_accumulate": 2}
BOTTLENECKS = {
    "gaussian": partial(GaussianBottleneck, channels=2, kl_weight=0.1),
    "vq": partial(VectorQuantizer, codes=16, channels=3, restart_below=0.5),
    "fsq": partial(FSQ, levels=(4, 3)),
    "lfq": partial(LFQ, bits=3, temperature=0.5),
}


def gaussian(**parts):
    options = {"adversarial_start": 128, "adversarial_ramp": 200, "perceptual": DiscriminatorFeatures()}
    return AutoencoderKL(
        SHAPE, BOTTLENECKS["gaussian"], ema_half_life=200, penalty=R1(0.1), **options, **JUDGED, **parts
    )


def vq(**parts):
    return VQGAN(SHAPE, BOTTLENECKS["vq"], perceptual=ClassifierFeatures(0.01), **JUDGED, **parts)


def lfq(**parts):
    return Autoencoder(SHAPE, BOTTLENECKS["lfq"], **JUDGED, **parts)


@pytest.mark.parametrize("make", [gaussian, vq, lfq])
def test_the_four_invariances(make, assert_same, tmp_path):
    assert_invariant(make, PARTS, assert_same, tmp_path)
