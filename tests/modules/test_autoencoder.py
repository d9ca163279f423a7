"""Autoencoders with a discriminator: the step, its invariances, what they are used for, what they refuse."""

from functools import partial

import pytest
import torch
from invariances import assert_invariant, fit, seeded
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torchvision import models

from lit_gen import VQGAN, VQVAE, Autoencoder, AutoencoderKL, from_pretrained, save_pretrained
from lit_gen.cli.app import main
from lit_gen.losses import R1, NonSaturating
from lit_gen.models.perceptual import _frozen
from lit_gen.modules import LPIPS, ClassifierFeatures, DiscriminatorFeatures
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
    "whitened": partial(FSQ, levels=(4, 3), whiten=True),
    "lfq": partial(LFQ, bits=3, temperature=0.5),
}


def gaussian(**parts):
    options = {"adversarial_start": 128, "adversarial_ramp": 200, "perceptual": DiscriminatorFeatures()}
    return AutoencoderKL(
        SHAPE, BOTTLENECKS["gaussian"], ema_half_life=200, penalty=R1(0.1), **options, **JUDGED, **parts
    )


def vq(**options):
    return VQGAN(SHAPE, BOTTLENECKS["vq"], perceptual=ClassifierFeatures(0.01), **JUDGED, **options)


def lfq(**parts):
    return Autoencoder(SHAPE, BOTTLENECKS["lfq"], **JUDGED, **parts)


@pytest.mark.parametrize("make", [gaussian, vq, lfq])
def test_the_four_invariances(make, assert_same, tmp_path):
    assert_invariant(make, PARTS, assert_same, tmp_path)


IMAGES = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def small(make=Autoencoder, bottleneck="fsq", shape=SHAPE, **options):
    torch.manual_seed(0)
    return make(shape, BOTTLENECKS[bottleneck], **{**SMALL, "discriminator": None, **options})


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_what_an_autoencoder_is_used_for(bottleneck, tmp_path):
    model = small(bottleneck=bottleneck).train()
    latents = model.encode(IMAGES)
    assert model.training, "the mode is as it was"
    assert latents.shape == (5, *model.latent_shape)
    images = model.decode(latents)
    assert images.shape == IMAGES.shape
    assert images.abs().max() <= 1
    assert torch.equal(model.reconstruct(IMAGES), images)
    save_pretrained(model, tmp_path / "model")
    assert torch.equal(from_pretrained(tmp_path / "model", kind=Autoencoder).encode(IMAGES), latents)
    if bottleneck == "gaussian":
        with pytest.raises(ValueError, match="bottleneck=GaussianBottleneck: its latents are no codes"):
            model.indices(IMAGES)
    else:
        numbers = model.indices(IMAGES)
        assert numbers.dtype == torch.int64
        assert numbers.shape == (5, *model.latent_shape[1:])
        assert torch.equal(model.decode_indices(numbers), images)


def test_latents_come_from_the_averages():
    model = small(ema_half_life=10)
    before = model.encode(IMAGES)
    with torch.no_grad():
        model.encoder.conv_in.weight.mul_(3)
        model.decoder.conv_in.weight.mul_(3)
    assert torch.equal(model.encode(IMAGES), before)
    model.averages.clear()
    assert not torch.equal(model.encode(IMAGES), before)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 30), (5, 9, 8), (1, 7, 7)])
def test_sizes_that_the_factor_does_not_divide_are_continued_and_cut(shape):
    """By the last row and column: the same code as that of the continued image, the same pixels of its decoding."""
    model = small(shape=shape)
    height, width = (side + side % 2 for side in shape[1:])
    whole = small(shape=(shape[0], height, width))
    x = torch.rand(2, *shape) * 2 - 1
    rows, columns = (
        torch.arange(side).clamp(max=own - 1) for side, own in zip((height, width), shape[1:], strict=True)
    )
    continued = x[:, :, rows][..., columns]
    assert torch.equal(model.encode(x), whole.encode(continued))
    assert model.latent_shape == (2, height // 2, width // 2)
    assert torch.equal(model.reconstruct(x), whole.reconstruct(continued)[..., : shape[1], : shape[2]])


def test_without_a_prior_there_are_no_samples():
    model = small(AutoencoderKL, "gaussian")
    assert not hasattr(model, "sample")
    with pytest.raises(AttributeError, match="AutoencoderKL has no prior to sample from; fit a model to its latents"):
        model.sample(4)


def test_the_discriminator_joins_by_the_images_seen():
    model = small(discriminator=PatchGAN, adversarial_weight=0.8, adversarial_start=100, adversarial_ramp=50)
    shares = []
    for images in (0, 99, 100, 110, 150, 10_000):
        model.images_seen = images
        shares.append(model.adversarial_share)
    assert shares == pytest.approx([0, 0, 0, 0.16, 0.8, 0.8])


def test_the_discriminator_trains_before_it_joins():
    model = seeded(partial(vq, adversarial_start=1000))
    start = model.discriminator.layers[0].weight.clone()
    alone = seeded(
        partial(VQGAN, SHAPE, BOTTLENECKS["vq"], perceptual=ClassifierFeatures(0.01), **SMALL, discriminator=None)
    )
    fit(model, max_steps=3)
    assert model.updates == {"autoencoder": 3, "discriminator": 3}
    assert not torch.equal(model.discriminator.layers[0].weight, start)
    fit(alone, max_steps=3)
    for name in ("encoder", "decoder", "bottleneck"):  # and changes nothing until then
        for key, value in alone.get_submodule(name).state_dict().items():
            torch.testing.assert_close(model.get_submodule(name).state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_a_discriminator_is_run_and_differentiated_once_an_update():
    """Its pass for λ is the one that the autoencoder learns from; the decoder is differentiated once."""
    model = seeded(partial(vq, adversarial_start=0))
    passes, backwards = [], []
    model.discriminator.register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[0])))
    model.discriminator.layers[0].register_full_backward_hook(lambda *_: backwards.append("discriminator"))
    model.decoder.conv_in.register_full_backward_hook(lambda *_: backwards.append("decoder"))
    fit(model, max_steps=1)
    assert passes == [32, 64]  # reconstructions, then images and reconstructions
    assert sorted(backwards) == ["decoder", "discriminator", "discriminator"]


def test_validation_needs_no_discriminator():
    model = small(discriminator=PatchGAN)
    model.discriminator.register_forward_hook(lambda *_: pytest.fail("a discriminator was asked"))
    model.eval()
    values = model.held_out_values((IMAGES, None))
    assert set(values) == {"l1", "bits_per_pixel"}
    assert values["l1"].item() == pytest.approx((model.reconstruct(IMAGES) - IMAGES).abs().mean().item(), rel=0.2)


def test_bfloat16_trains_and_its_codes_are_those_of_float32():
    model = seeded(vq)
    fit(model, max_steps=4, precision="bf16-mixed")
    assert model.bottleneck.codebook.dtype == torch.float32
    numbers = model.indices(IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model.encoder(IMAGES)
        assert maps.dtype == torch.bfloat16
        assert torch.equal(model.bottleneck.indices(maps), model.bottleneck.indices(maps.float()))
    assert 0 <= numbers.min() <= numbers.max() < 16


def test_features_of_a_discriminator_are_all_convolutions_but_the_scores():
    torch.manual_seed(0)
    judge, other = PatchGAN(SHAPE, width=4), torch.rand(5, *SHAPE)
    maps = DiscriminatorFeatures().features(IMAGES, judge)
    convolutions = [layer for layer in judge.layers if isinstance(layer, nn.Conv2d)]
    assert [x.shape[1] for x in maps] == [layer.out_channels for layer in convolutions[:-1]]
    there = DiscriminatorFeatures().features(other, judge)
    expected = sum((x - y).square().mean() for x, y in zip(maps, there, strict=True)) / len(maps)
    torch.testing.assert_close(DiscriminatorFeatures(3.0)(other, IMAGES, judge), 3 * expected)


def test_features_of_a_classifier_stay_out_of_checkpoints():
    model = small(perceptual=ClassifierFeatures(2.0, "digits"))
    assert not [key for key in model.state_dict() if "perceptual" in key]
    other = IMAGES.flip(0).requires_grad_()
    (gradient,) = torch.autograd.grad(model.perceptual(other, IMAGES, None), other)
    assert gradient.abs().sum() > 0


def test_the_files_of_lpips_are_needed_in_training_alone(tmp_path):
    weights = tmp_path / "squeezenet.pth"
    torch.save(models.squeezenet1_1(weights=None).state_dict(), weights)
    model = small(shape=(1, 18, 18), perceptual=LPIPS(weights=str(weights), net="squeeze"))
    x, y = (torch.rand(2, 1, 18, 18) * 2 - 1).requires_grad_(), torch.rand(2, 1, 18, 18) * 2 - 1
    value, values = model.distance(x, y)
    assert values["perceptual"] > 0
    torch.testing.assert_close(value, values["reconstruction"] + values["perceptual"])
    assert torch.autograd.grad(value, x)[0].abs().sum() > 0
    save_pretrained(model, tmp_path / "model")
    weights.unlink()
    assert not [key for key in model.state_dict() if "perceptual" in key]
    again = from_pretrained(tmp_path / "model", training=False)
    assert torch.equal(again.encode(y), model.encode(y))
    absent = small(perceptual=None)
    absent.perceptual = LPIPS(weights="nowhere.pth", net="squeeze")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        fit(absent, max_steps=1)


def test_a_classifier_has_weights_though_first_asked_for_without_memory():
    """As where a trained model is read: it is built on "meta"."""
    _frozen.cache_clear()
    with torch.device("meta"):
        small(perceptual=ClassifierFeatures(1.0, "digits"))
    images = torch.rand(2, 2, *SHAPE) * 2 - 1
    assert float(ClassifierFeatures(1.0, "digits")(*images, None)) > 0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(small, shape=(2,)), r"image_shape=\(2,\)"),
        (partial(small, adversarial_weight=-1.0), "adversarial_weight=-1.0"),
        (partial(small, adversarial_start=-1), "adversarial_start=-1"),
        (partial(small, adversarial_ramp=-5), "adversarial_ramp=-5"),
        (partial(small, perceptual=DiscriminatorFeatures()), "no discriminator has no convolutions"),
        (partial(small, perceptual=ClassifierFeatures(extractor="mnist")), "perceptual.extractor='mnist'"),
        (partial(ClassifierFeatures, -1.0), "weight=-1.0"),
        (partial(small, decoder=partial(ConvDecoder, widths=(8,), blocks=1, groups=4)), "the factors must be the same"),
        (partial(ConvEncoder, SHAPE, 2, widths=()), r"widths=\[\]"),
        (partial(ConvEncoder, SHAPE, 2, widths=(8, 12), groups=8), "12 channels don't divide into groups=8"),
        (partial(ConvDecoder, SHAPE, 0, widths=(8,), groups=8), "channels=0"),
        (partial(ConvDecoder, (7,), 2, widths=(8,), groups=8), r"image_shape=\(7,\)"),
        (lambda: small().encode(IMAGES[:, :, :6]), r"images of shape \(5, 1, 6, 8\)"),
        (lambda: small().decode(torch.zeros(2, 3, 4, 4)), r"latents of shape \(2, 3, 4, 4\)"),
        (lambda: small().decode_indices(torch.zeros(2, 4, 4)), "indices torch.float32"),
        (lambda: small().decode_indices(torch.full((2, 4, 4), 12)), "indices from 12 to 12: codes are 0 to 11"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_named_in_one_line(make, told):
    with pytest.raises(ValueError, match=told) as error:
        make()
    assert "\n" not in str(error.value)


def test_scaled_gradients_are_refused():
    half = MixedPrecision("16-mixed", device="cpu", scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(ValueError, match="precision=16-mixed"):
        fit(seeded(vq), plugins=[half], max_steps=1)


def test_vqvae_has_neither_discriminator_nor_l1():
    model = VQVAE(SHAPE, BOTTLENECKS["vq"], **SMALL)
    fit(model, max_steps=2)
    assert model.updates == {"autoencoder": 2}
    assert set(model.held_out_values((IMAGES, None))) >= {"l2", "commitment"}


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_exported_networks_give_latents_and_images(bottleneck, tmp_path):
    model = small(bottleneck=bottleneck)
    save_pretrained(model, tmp_path / "model")
    latents = model.encode(IMAGES)
    for part, given, expected in [("encoder", IMAGES, latents), ("decoder", latents, model.decode(latents))]:
        out = tmp_path / f"{part}.pt2"
        main(["export", str(tmp_path / "model"), "--format", "torch_export", "--part", part, "--out", str(out)])
        made = torch.export.load(out).module()(given)
        torch.testing.assert_close(made[0] if isinstance(made, tuple) else made, expected)  # codes have indices too
