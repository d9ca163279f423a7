"""Latents of ``lit-gen explore``: the same samples as elsewhere, and axes and paths by their closed forms."""

import pytest
import torch
from explore_models import MODELS, SHAPE

from lit_gen.cli.commands import sample
from lit_gen.cli.exploring.latents import (
    Latents,
    arrays,
    draw,
    from_code,
    from_noise,
    images_of,
    moved,
    path,
    traversal,
)


def test_a_seed_draws_what_sampling_does(model):
    latents = draw(model, 3)
    expected = model.sample(64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(images_of(model, latents), expected)


def test_truncation_and_class_are_those_of_the_sample_command(model):
    options = sample.parser().parse_args(["x", "--seed=2", "--truncation=0.5"])
    options.labels = [1] if model.conditional else None
    expected, labels = sample.draw(model, options)
    latents = draw(model, 2, 1 if model.conditional else None, 0.5)
    torch.testing.assert_close(images_of(model, latents), expected)
    assert latents.labels is None or torch.equal(latents.labels, labels)


def test_what_is_encoded_is_decoded_as_by_the_model(model):
    if not hasattr(model, "encode"):
        pytest.skip("a GAN doesn't encode")
    labels = (torch.tensor([0, 2]),) if model.conditional else ()
    images = torch.rand(2, *SHAPE) * 2 - 1
    code = model.encode(images, *labels)
    with torch.no_grad(), model.evaluating():
        expected = model.decode(code, *labels)
    found = images_of(model, Latents(from_code(model, code), *labels))
    torch.testing.assert_close(found, expected)


def test_moves_add_up_and_traversals_are_rows_of_them():
    start, axes = Latents(torch.randn(1, 4), torch.tensor([2])), torch.randn(2, 4)
    end = moved(start, axes, [1.0, -3.0])
    torch.testing.assert_close(end.z[0], start.z[0] + axes[0] - 3 * axes[1])
    amounts = torch.tensor([-1.0, 0, 2])
    rows = traversal(start, axes, amounts)
    for k in range(2):
        for i, amount in enumerate(amounts):
            torch.testing.assert_close(rows.z[3 * k + i], start.z[0] + amount * axes[k])
    assert rows.labels.tolist() == [2] * 6
    assert len(rows) == 6


@pytest.mark.parametrize("kind", ["spherical", "linear"])
def test_paths_reach_from_end_to_end(kind):
    a, b = Latents(torch.tensor([[3.0, 0]])), Latents(torch.tensor([[0.0, 3]]))
    points = path(a, b, kind, torch.tensor([0.0, 0.5, 1])).z
    middle = 3 * 0.5**0.5 if kind == "spherical" else 1.5
    torch.testing.assert_close(points, torch.tensor([[3.0, 0], [middle, middle], [0, 3]]), atol=1e-6, rtol=0)


def test_a_file_holds_latents_classes_and_names():
    found = arrays(Latents(torch.ones(2, 3), torch.tensor([1, 0])), ("cat", "dog"))
    assert found["latents"].shape == (2, 3)
    assert found["labels"].tolist() == [1, 0]
    assert found["class_names"].tolist() == ["cat", "dog"]


def test_noise_of_a_prior_is_scaled_as_samples_are():
    model = MODELS["VAE"]()
    torch.testing.assert_close(from_noise(model, torch.ones(1, 5)), torch.full((1, 5), 0.7))
