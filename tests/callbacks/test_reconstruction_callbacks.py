"""Scores and pictures of an autoencoder's reconstructions."""

import math
from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from PIL import Image
from process_group import in_group

from datamodules import DigitsDataModule
from lit_gen import GAN, VQGAN, AutoencoderKL, evaluate
from lit_gen.callbacks import EvaluateReconstruction, ReconstructionGrid
from lit_gen.metrics import load_extractor
from lit_gen.networks import FSQ, ConvDecoder, ConvEncoder, GaussianBottleneck, MLPDiscriminator, MLPGenerator
from lit_gen.pictures import paired_grid

SMALL = {
    "encoder": partial(ConvEncoder, widths=(4, 4), blocks=1, groups=2, attention=False),
    "decoder": partial(ConvDecoder, widths=(4, 4), blocks=1, groups=2, attention=False),
    "discriminator": None,
}


@pytest.fixture(scope="module")
def data():
    return DigitsDataModule(batch_size=64)


def levels(images):
    return np.clip(np.round((images.double().numpy() + 1) * 127.5), 0, 255)


def kl_model():
    torch.manual_seed(0)
    return AutoencoderKL((1, 8, 8), partial(GaussianBottleneck, channels=2), **SMALL)


def fsq_model():
    torch.manual_seed(0)
    return VQGAN((1, 8, 8), partial(FSQ, levels=(4, 3)), **SMALL)


def all_images(data, split):
    dataset = data.dataset(split)
    return data.to_float(dataset.__getitems__(list(range(len(dataset))))[0])


@pytest.mark.parametrize("make", [kl_model, fsq_model])
def test_the_scores_are_those_of_all_images(make, data):
    """By numpy and scipy from the images that a user has, in one batch."""
    model = make()
    scores = evaluate(model, data, enable_progress_bar=False)
    x = all_images(data, "test")
    made = model.reconstruct(x)
    ours, theirs = levels(x), levels(made)
    expected = 10 * math.log10(255**2 / np.square(ours - theirs).mean())
    assert scores["test/psnr_8bit_db"] == pytest.approx(expected, rel=1e-5)
    assert scores["test/ssim_8bit"] == pytest.approx(plain_ssim(ours, theirs), rel=1e-4)
    assert scores["test/l1"] == pytest.approx((model.decoder(model.encode(x)) - x).abs().mean().item(), rel=1e-4)
    extractor = load_extractor("digits")
    features = [
        extractor.extract(torch.from_numpy(side).float() / 127.5 - 1)[0].double().numpy() for side in (ours, theirs)
    ]
    assert scores[f"test/rfd_digits_{len(x)}"] == pytest.approx(plain_frechet(*features), rel=1e-3)
    if make is fsq_model:
        shares = np.bincount(model.indices(x).flatten().numpy(), minlength=12) / model.indices(x).numel()
        assert scores["test/codes_used"] == (shares > 0).sum()
        entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
        assert scores["test/perplexity"] == pytest.approx(math.exp(entropy), rel=1e-5)
        assert scores["test/bits_per_pixel"] == pytest.approx(16 * math.log2(12) / 64, rel=1e-5)
    else:
        assert scores["test/bits_per_pixel"] == pytest.approx(scores["test/kl_nats"] / math.log(2) / 64, rel=1e-5)


def plain_ssim(x, y):
    """Wang et al. 2004, with a Gaussian window of 11 pixels, σ = 1.5, borders reflected; a mean over images."""
    positions = np.arange(11) - 5
    window = np.exp(-(positions**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def blurred(images):
        padded = np.pad(images, ((0, 0), (0, 0), (5, 5), (5, 5)), mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, (11, 11), axis=(2, 3))
        return (views * window).sum((4, 5))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = blurred(x), blurred(y)
    vx, vy, both = blurred(x * x) - mx**2, blurred(y * y) - my**2, blurred(x * y) - mx * my
    return ((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def plain_frechet(x, y):
    cx, cy = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(cx)
    root = vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ cy @ root).clip(0)).sum()
    return np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cx) + np.trace(cy) - 2 * common


class Perfect(AutoencoderKL):
    """Whose reconstructions are the images."""

    def reconstruct(self, images):
        return images


def test_perfect_reconstructions(data):
    torch.manual_seed(0)
    scores = evaluate(Perfect((1, 8, 8), partial(GaussianBottleneck, channels=2), **SMALL), data, "val")
    assert scores["val/ssim_8bit"] == pytest.approx(1)
    assert scores["val/rfd_digits_300"] == pytest.approx(0, abs=1e-5)
    assert scores["val/psnr_8bit_db"] == math.inf


def test_batches_change_no_score():
    model = fsq_model()
    one, other = (
        evaluate(model, DigitsDataModule(batch_size=size), "val", enable_progress_bar=False) for size in (300, 7)
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_pictures_hold_images_above_their_reconstructions(data, tmp_path):
    model = kl_model()
    trainer = L.Trainer(
        max_steps=2, default_root_dir=tmp_path, logger=False, callbacks=[ReconstructionGrid(num_samples=3)],
        accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    names = sorted(path.name for path in tmp_path.rglob("*.png"))
    assert names == ["step_000000.png", "step_000002.png"]
    picture = np.asarray(Image.open(next(tmp_path.rglob("step_000002.png"))))
    images = all_images(data, "val")[:3]
    for row, shown in enumerate((images, model.reconstruct(images))):
        for column in range(3):
            cell = picture[row * 50 : row * 50 + 48 : 6, column * 50 : column * 50 + 48 : 6]
            assert np.array_equal(cell, levels(shown[column, 0]))


def test_a_last_row_that_is_not_full_stays_under_its_images():
    """Nine images: a row of eight and one of one, each above its reconstruction."""
    images = torch.linspace(-1, 1, 9)[:, None, None, None].expand(-1, 1, 8, 8)
    torch.manual_seed(0)
    picture = paired_grid(images, kl_model().reconstruct(images))[0, ::50, ::50].numpy()
    made = levels(kl_model().reconstruct(images))[:, 0, 0, 0]
    expected = np.full((4, 8), 128.0)
    expected[0], expected[1] = levels(images)[:8, 0, 0, 0], made[:8]
    expected[2, 0], expected[3, 0] = levels(images)[8, 0, 0, 0], made[8]
    assert np.array_equal(picture, expected)


def test_what_does_not_reconstruct_is_refused(data):
    module = GAN((1, 8, 8), 4, partial(MLPGenerator, width=4), partial(MLPDiscriminator, width=4))
    trainer = L.Trainer(accelerator="cpu", barebones=True, max_steps=1, callbacks=[EvaluateReconstruction()])
    with pytest.raises(ValueError, match="EvaluateReconstruction: GAN has no reconstruct"):
        trainer.fit(module, datamodule=data)


def scores_of(make, devices):
    data = DigitsDataModule(batch_size=64)
    found = evaluate(make(), data, "val", enable_progress_bar=False, accelerator="cpu", devices=devices)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def test_two_processes_have_the_scores_of_one(assert_same):
    alone = scores_of(fsq_model, 1)
    assert {"val/psnr_8bit_db", "val/ssim_8bit", "val/perplexity", "val/codes_used"} <= alone.keys()
    for other in in_group(2, scores_of, fsq_model, 2):
        assert_same(alone, other, tolerance=1e-4)
