"""What the page's controls ask for: pictures, and one line for what is wrong."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from test_latents import MODELS, SHAPE

import lit_gen
from lit_gen.cli.exploring import uploads
from lit_gen.cli.exploring.explorer import AXES, Explorer
from lit_gen.cli.exploring.latents import images_of
from lit_gen.models import AutoencoderKL, CycleGAN
from lit_gen.networks import ConvDecoder, ConvEncoder, PatchGAN, ResNetTranslator


@pytest.fixture
def digits():
    return Explorer(lit_gen.from_pretrained("cgan_digits", training=False), "digits")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)).save(path)
    return str(path)


def autoencoder():
    small = {"widths": [8, 8], "blocks": 1, "groups": 4, "attention": False}
    networks = {"encoder": partial(ConvEncoder, **small), "decoder": partial(ConvDecoder, **small)}
    return AutoencoderKL((3, 8, 8), **networks, discriminator=partial(PatchGAN, width=4, receptive_field=16))


def cyclegan():
    translator = partial(ResNetTranslator, width=4, blocks=1, norm="none")
    return CycleGAN((3, 8, 8), translator, partial(PatchGAN, width=4, receptive_field=16))


def test_a_grid_shows_the_samples_and_a_click_finds_them(digits):
    grid, latents = digits.samples(5, 7, "3", 0)
    side = (grid.shape[1] + 2) // 3 - 2  # three columns
    assert grid.shape == (3 * (side + 2) - 2, 3 * (side + 2) - 2)
    for number in range(7):
        row, column = divmod(number, 3)
        x, y = column * (side + 2), row * (side + 2)
        found = digits.at(latents, x + side - 1, y + 1)
        assert torch.equal(found.z[0], latents.z[number])
        assert found.labels.tolist() == [3]
        part = grid[y : y + side, x : x + side]
        alone = digits.grid(found)
        assert np.array_equal(part, alone)
    assert torch.equal(digits.at(latents, 0, 10_000).z[0], latents.z[6])  # beyond the last


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((None, 4, None, 0), "seed None"),
        ((1.5, 4, None, 0), "seed 1.5: a whole number"),
        ((-1, 4, None, 0), "seed -1"),
        ((math.nan, 4, None, 0), "seed nan"),
        ((math.inf, 4, None, 0), "seed inf"),
        ((1e300, 4, None, 0), "seed 1e.300: a whole number"),
        ((10**300, 4, None, 0), "seed 10000000000000000000: a whole number"),
        ((0, 65, None, 0), "pictures 65: a whole number from 1 to 64"),
        ((0, 10**9, None, 0), "pictures 1000000000"),
        ((0, 4, "eleven", 0), "no class 'eleven'"),
        ((0, 4, None, -1), "truncation -1"),
        ((0, 4, None, math.nan), "truncation nan"),
    ],
)
def test_what_is_out_of_range_is_one_line(digits, values, told):
    with pytest.raises(ValueError, match=told) as error:
        digits.samples(*values)
    assert "\n" not in str(error.value)


def test_sliders_at_zero_are_the_start_and_rows_end_where_sliders_do(digits):
    _, latents = digits.samples(0, 1, "7", 0)
    for kind in AXES:
        axes = digits.axes(kind, 1)
        assert axes.shape == (8, 32)
        still, end = digits.slid(latents, axes, [0] * 8)
        assert torch.equal(end.z, latents.z)
        assert np.array_equal(still, digits.picture(latents))
        rows = digits.rows(latents, axes)
        last = digits.grid(digits.slid(latents, axes, [0] * 7 + [4])[1])
        assert np.array_equal(rows[-last.shape[0] :, -last.shape[1] :], last)
    assert torch.equal(digits.axes(AXES[1], 25), torch.eye(32)[24:])
    with pytest.raises(ValueError, match="first slider 26: a whole number from 1 to 25"):
        digits.axes(AXES[1], 26)


def test_the_same_latents_in_another_class(digits):
    _, latents = digits.samples(0, 3, "7", 0)
    other = digits.of_class(latents, "2")
    assert torch.equal(other.z, latents.z)
    assert other.labels.tolist() == [2, 2, 2]
    assert digits.of_class(latents, "") is latents
    expected = digits.model.generate(latents.z, torch.tensor([2, 2, 2]))
    torch.testing.assert_close(images_of(digits.model, other), expected)


def test_a_path_begins_and_ends_with_its_pictures(digits):
    _, latents = digits.samples(0, 2, "1", 0)
    first, last = latents[:1], latents[1:]
    for kind in ("spherical", "linear"):
        assert np.array_equal(digits.place(first, last, kind, 0), digits.picture(first))
        assert np.array_equal(digits.place(first, last, kind, 1), digits.picture(last))
        _, points = digits.path(first, last, kind, 5)
        assert points.z.shape == (5, 32)
        assert points.labels.tolist() == [1] * 5
    with pytest.raises(ValueError, match="steps 1: a whole number from 2 to 64"):
        digits.path(first, last, "linear", 1)


@pytest.mark.parametrize("name", ["VAE", "conditional VAE", "VAE with a mixture", "hierarchy"])
def test_a_picture_becomes_a_place_to_start_from(name, photo):
    torch.manual_seed(0)
    explorer = Explorer(MODELS[name](), name)
    found = explorer.reconstruct(photo, "2" if explorer.class_names else None, negative=False)
    assert np.array_equal(found.made, explorer.picture(found.latents))
    assert np.array_equal(found.arrays["latents"], found.latents.z.numpy())
    seen = uploads.read_fitted(photo, SHAPE)
    assert np.array_equal(found.seen, explorer.alone(seen))
    swapped = explorer.reconstruct(photo, "2" if explorer.class_names else None, negative=True)
    assert np.array_equal(255 - swapped.seen, found.seen)
    drawn = explorer.samples(0, 1, None, 0)[1]
    assert explorer.path(found.latents, drawn, "spherical", 3)[1].z.shape == (3, explorer.model.noise_dim)


def test_the_class_of_a_picture_has_to_be_told(photo):
    with pytest.raises(ValueError, match="class: a conditional model"):
        Explorer(MODELS["conditional VAE"](), "x").reconstruct(photo, None, negative=False)


def test_an_autoencoder_reconstructs_and_has_no_sliders(photo):
    explorer = Explorer(autoencoder(), "kl")
    assert (explorer.draws, explorer.encodes, explorer.translates) == (False, True, False)
    assert "latents of" in explorer.told()
    found = explorer.reconstruct(photo, None, negative=False)
    images = uploads.read_fitted(photo, (3, 8, 8))
    assert np.array_equal(found.made, explorer.alone(explorer.model.reconstruct(images)))
    assert found.latents is None
    assert found.arrays["latents"].shape == (1, *explorer.model.latent_shape)
    assert f"{uploads.psnr(images, explorer.model.reconstruct(images)):.1f} dB" in found.told


def test_a_translation_has_the_pictures_own_size(photo):
    explorer = Explorer(cyclegan(), "cycle")
    images = uploads.read_whole(photo, 3)
    assert images.shape == (1, 3, 21, 34)
    for to, way_back in (("b", "a"), ("a", "b")):
        seen, made, back = explorer.translate(photo, to)
        expected = explorer.model.translate(images, to=to)
        assert np.array_equal(seen, explorer.alone(images))
        assert np.array_equal(made, explorer.alone(expected))
        assert np.array_equal(back, explorer.alone(explorer.model.translate(expected, to=way_back)))


def test_points_have_no_page():
    with pytest.raises(ValueError, match=r"ring: samples of shape \(2,\) are no pictures"):
        Explorer(lit_gen.models.GAN((2,), 4), "ring")


@pytest.mark.parametrize("content", [b"", b"<svg onload='alert(1)'/>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a"])
def test_what_is_no_picture_is_one_line(content, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (lambda: uploads.read_whole(path, 3), lambda: uploads.read_fitted(path, SHAPE)):
        with pytest.raises(ValueError, match=r"^the picture: not a readable image") as error:
            read()
        assert "\n" not in str(error.value)


def test_pictures_and_files_beyond_the_limits_are_not_unpacked(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (6000, 5000)).save(path)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="6000 x 5000 are 30,000,000 pixels"):
        uploads.read_whole(path, 3)
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(uploads.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="a file of 50 MiB; at most 50 are read"):
        uploads.read_fitted(tmp_path / "large.png", SHAPE)
    with pytest.raises(ValueError, match="no picture yet"):
        uploads.read_fitted(None, SHAPE)
    with pytest.raises(ValueError, match="no longer there"):
        uploads.read_whole(tmp_path / "gone.png", 3)


def test_psnr_by_its_formula():
    a, b = torch.full((1, 1, 2, 2), -1.0), torch.full((1, 1, 2, 2), 1.0)
    assert uploads.psnr(a, a) == math.inf
    assert uploads.psnr(a, b) == 0
    b[0, 0, 0, 0] = b[0, 0, 0, 1] = -1
    assert uploads.psnr(a, b) == pytest.approx(10 * math.log10(2))
