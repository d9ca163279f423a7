"""Pictures of conditional models: rows of one class beside its name, about square for any number of classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lit_gen.callbacks.publish import publish
from lit_gen.callbacks.samples import SampleGrid
from lit_gen.class_grid import Layout, class_caption, class_grid, near_square
from lit_gen.pictures import paired_grid

NAMES = tuple(f"class {i}" for i in range(200))


def flat(labels, side=48):
    """A picture of one grey value for each label, 24 apart, (N, 1, side, side)."""
    return (labels.float() * 24 / 127.5 - 1).view(-1, 1, 1, 1).expand(-1, 1, side, side)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10, 12, 20, 21, 25, 40, 64, 100])
@pytest.mark.parametrize("images", [30, 64, 100])
def test_pictures_of_any_number_of_classes_are_about_square(count, images):
    labels = torch.arange(images) % count
    height, width = class_grid(flat(torch.zeros(images)), labels, NAMES).shape[1:]
    assert 1 / 2 < height / width < 2
    blanks = height * width / (50 * 50 * images)
    assert blanks < 2.6  # names and the ends of rows


@pytest.mark.parametrize(
    ("classes", "most", "layout"),
    [(2, 32, Layout(8)), (1, 64, Layout(8)), (8, 8, Layout(8)), (16, 4, Layout(4, 2)), (64, 1, Layout(1, 8))],
)
def test_layouts(classes, most, layout):
    assert near_square(classes, most, 50, 50) == layout


def test_a_row_is_of_one_class_and_every_image_is_there_once():
    labels = torch.arange(30) % 4
    picture = class_grid(flat(labels), labels, ["a", "b", "c", "d"])[0]
    margin = (picture[:, :40] == 128).all(0).sum()  # without the letters' columns
    assert margin > 4
    cells = picture[24::50, picture.shape[1] % 50 + 26 :: 50]
    kept = [[int(value) // 24 for value in row if value != 128] for row in cells]
    assert all(len(set(row)) <= 1 for row in kept)
    assert sorted(value for row in kept for value in row) == sorted(labels.tolist())
    assert [row[0] for row in kept if row] == sorted(row[0] for row in kept if row)


def test_classes_follow_each_other_as_they_occur_with_their_names_beside_them():
    labels = torch.tensor([2, 0, 2, 0])
    names = ["ü" * 3, "none", "a very long name of a class that is cut somewhere"]
    one, other = (class_grid(flat(y), y, names, columns=2)[0] for y in (labels, 2 - labels))
    left = one.shape[1] - 2 * 50 + 2
    assert (one[24, left], one[74, left]) == (48, 0)
    assert (other[24, left], other[74, left]) == (0, 48)
    assert one[:48, :left].equal(other[50:, :left])  # the name goes with the class
    assert not one[:48, :left].equal(one[50:, :left])
    assert left < 140
    plain = class_grid(flat(torch.arange(64)), torch.arange(64), NAMES)
    assert plain.shape == (1, 8 * 50 - 2, 8 * 50 - 2)  # too many names
    low = class_grid(torch.zeros(4, 3, 4, 48), torch.arange(4) % 2, NAMES)
    assert low.shape[1] < 50  # too low for letters


def test_the_caption_goes_to_the_file_and_the_tracker(tmp_path):
    given = []
    logger = SimpleNamespace(log_image=lambda *arguments, **options: given.append(options))
    trainer = SimpleNamespace(loggers=[logger], global_step=3)
    caption = class_caption(torch.tensor([1, 0, 1]), ["cät", "dog\n"])
    publish(trainer, str(tmp_path), "samples", "x", torch.zeros(1, 2, 2, dtype=torch.uint8), caption)
    assert given == [{"step": 3, "caption": ["dog\\n, cät"]}]
    with Image.open(tmp_path / "samples" / "x.png") as image:
        assert image.info["Description"] == "dog\\n, cät"


def test_the_grid_of_a_run_shows_the_models_samples_by_class():
    class Model:
        image_shape, conditional, num_classes, class_names = (1, 48, 48), True, 3, ("a", "b", "c")

        def sample(self, n, labels, generator):
            return flat(labels)

    labels = torch.arange(12) % 3
    picture = SampleGrid(num_samples=12).picture(SimpleNamespace(), Model())
    assert np.array_equal(picture, class_grid(flat(labels), labels, Model.class_names))


def test_pairs_lie_above_each_other_in_a_row_that_is_not_full_too():
    images = torch.linspace(-1, 1, 10)[:, None, None, None].expand(10, 1, 48, 48)
    cells = paired_grid(images, -images)[0, 24::50, 24::50]
    upper, lower = cells[[0, 2]].flatten(), cells[[1, 3]].flatten()
    levels = ((images[:, 0, 0, 0] + 1) * 127.5).round()
    assert upper.tolist() == [*levels.int().tolist(), *[128] * 6]
    assert (upper.int() + lower.int())[:10].tolist() == [255] * 10
    assert paired_grid(images[:3], images[:3]).shape == (1, 98, 148)
