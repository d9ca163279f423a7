"""Latents of given images: closed forms where there are any, and the shipped models' own samples."""

import math
from functools import partial

import pytest
import torch

import lit_gen
from lit_gen.latent_space import Search, invert
from lit_gen.latent_space.inversion import _rank
from lit_gen.models import GAN, AutoencoderKL, CycleGAN
from lit_gen.networks import MLPDiscriminator, MLPGenerator

FEW = Search(candidates=256, target_psnr=42.0)


def linear(points, latent_dim):
    """G(z) = A z + b of points in float64, with A and b."""
    torch.manual_seed(0)
    networks = {"generator": partial(MLPGenerator, depth=0), "discriminator": partial(MLPDiscriminator, width=4)}
    model = GAN((points,), latent_dim, **networks, ema_half_life=None).double()
    layer = model.generator.layers[0]
    with torch.no_grad():
        layer.weight.mul_(3)
    return model, layer.weight.detach(), layer.bias.detach()


def shipped(name, n):
    model = lit_gen.from_pretrained(name, training=False)
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 10 if model.conditional else None
    return model, model.sample(n, labels, generator), labels


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_of_a_linear_generator_the_latents_are_least_squares(weight):
    model, a, b = linear(20, 5)
    x = torch.randn(7, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = invert(model, x, search=Search(steps=200, rounds=1, target_psnr=500.0, prior_weight=weight, candidates=16))
    normal = a.T @ a / 20 + weight / 5 * torch.eye(5, dtype=torch.float64)
    expected = torch.linalg.solve(normal, ((x - b) @ a / 20).T).T
    torch.testing.assert_close(found.latents, expected, rtol=0, atol=1e-6)
    error = (expected @ a.T + b - x).square().mean(1)
    torch.testing.assert_close(found.psnr, 10 * torch.log10(4 / error))


@pytest.mark.parametrize("name", ["gan_digits", "cgan_digits", "wgan_gp_mnist"])
def test_own_samples_are_found_again(name):
    model, images, labels = shipped(name, 8)
    found = invert(model, images, labels, FEW)
    assert (found.psnr > 40).double().mean() > 0.8
    given = () if labels is None else (labels,)
    torch.testing.assert_close(found.images, model.generate(found.latents, *given))
    torch.testing.assert_close(found.psnr, 10 * torch.log10(4 / (found.images - images).square().flatten(1).mean(1)))


def test_labels_say_which_images_can_be_made():
    model, images, labels = shipped("cgan_digits", 10)
    few = Search(candidates=256, rounds=1, steps=100)
    right, wrong = (invert(model, images, y, few) for y in (labels, (labels + 1) % 10))
    assert right.psnr.median() > wrong.psnr.median() + 10


def test_no_search_is_worse_than_its_best_start_and_the_target_ends_it():
    model, images, _ = shipped("gan_digits", 6)
    starts = invert(model, images, search=Search(steps=0, rounds=1))
    near = invert(model, images, search=Search(target_psnr=25.0))
    far = invert(model, images, search=Search(target_psnr=45.0))
    assert (near.psnr >= 25).all()
    assert (starts.psnr <= near.psnr).all()
    assert (near.psnr <= far.psnr).all()
    assert near.psnr.median() < 35
    bank = model.generate(torch.randn(Search.candidates, model.latent_dim, generator=torch.Generator().manual_seed(0)))
    nearest = torch.stack([(bank - image).square().flatten(1).mean(1).min() for image in images])
    torch.testing.assert_close(starts.psnr, 10 * torch.log10(4 / nearest), rtol=1e-3, atol=0)


def test_a_vae_starts_from_its_encoder_and_gains():
    model = lit_gen.from_pretrained("vae_digits", training=False)
    images = model.sample(4, generator=torch.Generator().manual_seed(2)).round().clamp(-1, 1)
    encoded = invert(model, images, search=Search(starts=1, rounds=1, steps=0))
    torch.testing.assert_close(encoded.latents, model.encode(images))
    refined = invert(model, images, search=Search(starts=1, rounds=1, steps=100))
    assert (refined.psnr > encoded.psnr).all()


def test_the_prior_keeps_latents_small():
    model, images, _ = shipped("gan_digits", 4)
    noisy = (images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(3))).clamp(-1, 1)
    free, kept = (
        invert(model, noisy, search=Search(prior_weight=w, candidates=256, rounds=1, steps=200)) for w in (0.0, 0.1)
    )
    assert (kept.latents.norm(dim=1) < free.latents.norm(dim=1)).all()
    assert (kept.psnr <= free.psnr + 0.1).all()


def test_latents_of_an_autoencoder_are_its_encoders():
    torch.manual_seed(0)
    model = AutoencoderKL((1, 16, 16))
    images = torch.rand(3, 1, 16, 16) * 2 - 1
    found = invert(model, images)
    assert torch.equal(found.latents, model.encode(images))
    assert torch.equal(found.images, model.reconstruct(images))


def test_ranks_are_those_within_each_group():
    generator = torch.Generator().manual_seed(0)
    groups, values = torch.randint(4, (30,), generator=generator), torch.randn(30, generator=generator)
    pairs = list(zip(groups.tolist(), values.tolist(), strict=True))
    expected = [sum(g == group and v < value for g, v in pairs) for group, value in pairs]
    assert _rank(groups, values).tolist() == expected


def test_a_second_round_starts_from_other_samples_and_keeps_the_best():
    model, images, _ = shipped("gan_digits", 12)
    one, two = (invert(model, images, search=Search(starts=1, rounds=n, steps=15, candidates=64)) for n in (1, 2))
    assert (two.psnr >= one.psnr).all()
    assert (two.psnr > one.psnr).any()


def test_nothing_is_inverted_to_nothing():
    model, images, _ = shipped("gan_digits", 1)
    assert invert(model, images[:0]).latents.shape == (0, model.latent_dim)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"starts": 0}, "starts=0: from 1 to candidates=2048"),
        ({"rounds": 0}, "rounds=0"),
        ({"steps": -1}, "steps=-1"),
        ({"target_psnr": math.inf}, "target_psnr=inf"),
        ({"prior_weight": -0.1}, "prior_weight=-0.1"),
    ],
)
def test_searches_that_there_are_not(change, told):
    with pytest.raises(ValueError, match=told):
        Search(**change)


def test_models_images_and_labels_that_do_not_suit():
    model, images, _ = shipped("gan_digits", 2)
    with pytest.raises(ValueError, match="a CycleGAN has no latents"):
        invert(CycleGAN((3, 16, 16)), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"images of shape \(2, 3, 8, 8\).*makes \(1, 8, 8\)"):
        invert(model, images.expand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"labels=3.*unconditional"):
        invert(model, images, 3)
    conditional = lit_gen.from_pretrained("cgan_digits", training=False)
    with pytest.raises(ValueError, match=r"labels=None.*conditional"):
        invert(conditional, images)
    with pytest.raises(ValueError, match="labels=11"):
        invert(conditional, images, 11)
