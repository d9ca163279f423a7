import numpy as np
import pytest
import torch
from PIL import Image

from lit_gen.metrics import IdentityExtractor, to_signed
from lit_gen.metrics.passes import as_extractor_takes

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_the_three_ranges_of_one_picture_are_one_picture():
    """Bit for bit: uint8, the same over 255, and the same from −1 to 1."""
    expected = LEVELS.float() / 127.5 - 1
    assert to_signed(LEVELS, "uint8").equal(expected)
    assert to_signed(LEVELS / 255, "unit").equal(expected)
    assert to_signed(expected, "signed").equal(expected)
    assert to_signed(LEVELS.double() / 255, "unit").dtype == torch.float32


def test_values_are_rounded_to_the_nearest_level_and_cut_off():
    values = torch.tensor([-0.3, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0, 7.0]).view(1, 1, 1, 7)
    levels = (to_signed(values, "unit") + 1) * 127.5
    assert levels.flatten().round().tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_a_picture_comes_back_from_a_file_as_it_was_scored(tmp_path):
    """Samples are scored as the PNG they would be saved to."""
    samples = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    scored = to_signed(samples, "signed")
    pixels = ((scored[0] + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).numpy()
    Image.fromarray(pixels).save(tmp_path / "sample.png")
    read = torch.from_numpy(np.asarray(Image.open(tmp_path / "sample.png")).copy()).movedim(-1, 0)[None]
    assert to_signed(read, "uint8").equal(scored)


def test_the_range_is_not_taken_from_the_values():
    """An image that happens to be dark, or lies within [0, 1] by chance, means what was stated; so does its batch."""
    dark = torch.full((1, 1, 2, 2), 0.5)
    assert to_signed(dark, "signed").mean() == pytest.approx(128 / 127.5 * 1.5 - 1, abs=0.01)
    assert to_signed(dark, "unit").abs().max() < 0.01
    batch = torch.cat([dark, torch.full((1, 1, 2, 2), -0.9)])
    assert to_signed(batch, "signed")[:1].equal(to_signed(dark, "signed"))


def test_grey_becomes_colour_only_where_it_is_needed():
    assert to_signed(LEVELS, "uint8", channels=1).shape == (1, 1, 16, 16)
    colour = to_signed(LEVELS, "uint8", channels=3)
    assert colour.shape == (1, 3, 16, 16)
    assert (colour == to_signed(LEVELS, "uint8")).all()
    with pytest.raises(ValueError, match="images of 3 channels: 1 are needed"):
        to_signed(colour, "signed", channels=1)


def test_not_a_number_stays_one():
    assert to_signed(torch.full((1, 1, 2, 2), torch.nan), "signed").isnan().all()


@pytest.mark.parametrize(
    ("images", "values", "message"),
    [
        (LEVELS, "unit", "values='unit': needs float images, not torch.uint8"),
        (LEVELS / 255, "uint8", "values='uint8': needs uint8 images, not torch.float32"),
        (LEVELS.long(), "signed", "needs float images, not torch.int64"),
        (LEVELS, "auto", "values='auto': accepted are uint8, unit, signed"),
        (LEVELS[0], "uint8", r"images of shape \(1, 16, 16\): expected \(N, C, H, W\)"),
    ],
)
def test_refuses(images, values, message):
    with pytest.raises(ValueError, match=message):
        to_signed(images, values)


def test_points_are_left_alone_and_images_are_not_resized():
    points = torch.tensor([[0.123, 4.5]])
    assert as_extractor_takes(points, IdentityExtractor((2,))).equal(points)
    images = as_extractor_takes(LEVELS / 255, IdentityExtractor((1, 8, 8)))
    with pytest.raises(ValueError, match=r"takes \(N, \*\(1, 8, 8\)\)"):
        IdentityExtractor((1, 8, 8)).extract(images)
