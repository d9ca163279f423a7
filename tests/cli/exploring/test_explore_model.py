"""What the page's controls ask for: pictures, and one line for what is wrong."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from explore_models import MODELS, SHAPE, autoencoder, cut, cyclegan, pix2pix
from PIL import Image

import lit_gen
from lit_gen.cli.exploring import uploads
from lit_gen.cli.exploring.axes import ENTRIES, Axes
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.cli.exploring.latents import images_of
from lit_gen.latent_space import Directions, save_directions
from lit_gen.networks import CodeTransformer
from lit_gen.pictures import to_uint8


@pytest.fixture
def digits():
    return Explorer(lit_gen.from_pretrained("cgan_digits", training=False), "digits")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)).save(path)
    return str(path)


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
    for kind in digits.directions.kinds:
        axes = digits.axes(kind, 1)
        assert axes.vectors.shape == (8, 32)
        still, end = digits.slid(latents, axes, [0] * 8)
        assert torch.equal(end.z, latents.z)
        assert np.array_equal(still, digits.picture(latents))
        rows = digits.rows(latents, axes)
        last = digits.grid(digits.slid(latents, axes, [0] * 7 + [4])[1])
        assert np.array_equal(rows[-last.shape[0] :, -last.shape[1] :], last)
    last = digits.axes(ENTRIES, 25)
    assert torch.equal(last.vectors, torch.eye(32)[24:])
    assert last.names[0] == "z 24"
    with pytest.raises(ValueError, match="first slider 26: a whole number from 1 to 25"):
        digits.axes(ENTRIES, 26)


def test_fewer_directions_than_sliders_leave_some_idle(tmp_path, digits):
    vectors = torch.nn.functional.normalize(torch.randn(2, 32), dim=1)
    save_directions(tmp_path, digits.model, "x", [Directions(("a", "b"), vectors, torch.ones(2))])
    explorer = Explorer(digits.model, "x", tmp_path)
    axes = explorer.axes(tmp_path.name, 1)
    _, latents = explorer.samples(0, 1, "7", 0)
    _, end = explorer.slid(latents, axes, [1, 2, 3, 4, 4, 4, 4, 4])
    torch.testing.assert_close(end.z, latents.z + vectors[:1] + 2 * vectors[1:])


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


def test_a_gans_own_picture_is_found_again(digits, tmp_path):
    _, latents = digits.samples(3, 1, "4", 0)
    own = to_uint8(images_of(digits.model, latents))
    Image.fromarray(own[0, 0].numpy()).save(tmp_path / "own.png")
    found = digits.reconstruct(str(tmp_path / "own.png"), "4", negative=False, steps=300)
    assert float(found.told.split()[1]) > 40
    assert found.latents.labels.tolist() == [4]
    assert np.abs(found.made.astype(int) - found.seen).mean() < 2
    with pytest.raises(ValueError, match="steps 601: a whole number from 0 to 600"):
        digits.reconstruct(str(tmp_path / "own.png"), "4", negative=False, steps=601)


def test_a_search_comes_nearer_than_the_encoder(photo):
    torch.manual_seed(0)
    explorer = Explorer(MODELS["VAE"](), "VAE")
    by_encoder, by_search = (explorer.reconstruct(photo, None, False, steps) for steps in (0, 50))
    assert float(by_search.told.split()[1]) > float(by_encoder.told.split()[1])


def test_the_class_of_a_picture_has_to_be_told(photo):
    with pytest.raises(ValueError, match="class: a conditional model"):
        Explorer(MODELS["conditional VAE"](), "x").reconstruct(photo, None, negative=False)


def test_an_autoencoder_reconstructs_and_has_no_sliders(photo):
    explorer = Explorer(autoencoder(), "kl")
    assert (explorer.draws, explorer.encodes, explorer.translates_to) == (False, True, ())
    assert "latents of" in explorer.told()
    found = explorer.reconstruct(photo, None, negative=False)
    images = uploads.read_fitted(photo, (3, 8, 8))
    assert np.array_equal(found.made, explorer.alone(explorer.model.reconstruct(images)))
    assert found.latents is None
    assert found.arrays["latents"].shape == (1, *explorer.model.latent_shape)
    error = (explorer.model.reconstruct(images) - images).square().mean().item()
    assert found.told == f"PSNR {10 * math.log10(4 / error):.1f} dB"


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


@pytest.mark.parametrize("made", [pix2pix, cut])
def test_a_translation_without_a_way_back(made, photo):
    explorer = Explorer(made(), "one way")
    images = uploads.read_whole(photo, explorer.channels)
    seen, translated = explorer.translate(photo, "b")
    assert "8 × 8 pixels" in explorer.told()
    assert np.array_equal(seen, explorer.alone(images))
    assert np.array_equal(translated, explorer.alone(explorer.model.translate(images)))


def test_codes_have_no_gradient_to_move_along():
    prior = lit_gen.models.CodePrior((2, 2), 3, partial(CodeTransformer, width=8, depth=1, heads=1))
    assert Axes(prior).kinds == (ENTRIES,)


def test_a_model_without_latents_takes_no_directions():
    with pytest.raises(ValueError, match="--directions x: a CycleGAN has no latents"):
        Explorer(cyclegan(), "cycle", "x")


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
