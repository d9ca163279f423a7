"""Latents of ``lit-gen explore``: the same samples as elsewhere, and axes and paths by their closed forms."""

from functools import partial

import pytest
import torch

from lit_gen.cli.commands import sample
from lit_gen.cli.exploring.latents import (
    Latents,
    arrays,
    draw,
    first_axes,
    from_code,
    from_noise,
    images_of,
    moved,
    path,
    principal_axes,
    traversal,
)
from lit_gen.distributions import GaussianMixture
from lit_gen.models import GAN, VAE, HierarchicalVAE
from lit_gen.networks import Ladder, MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator

PLAYERS = {"generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8)}
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}
SHAPE = (1, 4, 4)
MODELS = {
    "GAN": lambda: GAN(SHAPE, 6, **PLAYERS),
    "conditional GAN": lambda: GAN(SHAPE, 6, **PLAYERS, num_classes=3, conditional=True),
    "VAE": lambda: VAE(SHAPE, 5, **CODERS, temperature=0.7),
    "conditional VAE": lambda: VAE(SHAPE, 5, **CODERS, num_classes=3, conditional=True),
    "VAE with a mixture": lambda: VAE(SHAPE, 5, **CODERS, prior=partial(GaussianMixture, components=3)),
    "hierarchy": lambda: HierarchicalVAE(SHAPE, partial(Ladder, latent_dims=(4, 3), widths=(8, 8)), temperature=0.8),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


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


def test_principal_axes_of_a_linear_model_are_its_singular_vectors(monkeypatch):
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(16, 5))
    v, _ = torch.linalg.qr(torch.randn(5, 5))
    matrix = u @ torch.diag(torch.tensor([16.0, 8, 4, 2, 1])) @ v.T
    model = GAN(SHAPE, 5, **PLAYERS)
    monkeypatch.setattr(model, "decode", lambda z: (z @ matrix.T).view(-1, *SHAPE))
    axes = principal_axes(model, probes=20_000)
    torch.testing.assert_close(axes @ axes.T, torch.eye(5))
    # Of 20,000 rank-one terms: neighbouring eigenvectors, of a ratio of 4, mix by about sqrt(4 / 20,000) / 3 = 0.005.
    torch.testing.assert_close((axes @ v).abs(), torch.eye(5), atol=0.02, rtol=0)


def test_principal_axes_leave_the_model_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    axes = principal_axes(model, probes=8)
    assert axes.shape == (model.noise_dim, model.noise_dim)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert [module.training for module in model.modules()] == modes


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


def test_first_axes_are_entries_from_a_number_on():
    model = GAN(SHAPE, 6, **PLAYERS)
    assert torch.equal(first_axes(model, 2, 3), torch.eye(6)[2:5])


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
