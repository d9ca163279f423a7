"""Directions of the page's sliders: by their closed form, from files, and those that a model has."""

import pytest
import torch
from explore_models import PLAYERS, SHAPE

from lit_gen.cli.exploring.axes import COMPONENTS, ENTRIES, FIRST_LAYER, STRONGEST, Axes, entries, strongest
from lit_gen.latent_space import Directions, principal, save_directions, sefa
from lit_gen.models import GAN


def test_the_strongest_directions_of_a_linear_model_are_its_singular_vectors(monkeypatch):
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(16, 5))
    v, _ = torch.linalg.qr(torch.randn(5, 5))
    matrix = u @ torch.diag(torch.tensor([16.0, 8, 4, 2, 1])) @ v.T
    linear = GAN(SHAPE, 5, **PLAYERS)
    monkeypatch.setattr(linear, "decode", lambda z: (z @ matrix.T).view(-1, *SHAPE))
    found = strongest(linear, probes=20_000)
    axes = found.vectors
    torch.testing.assert_close(axes @ axes.T, torch.eye(5))
    # Of 20,000 rank-one terms: neighbouring eigenvectors, of a ratio of 4, mix by about sqrt(4 / 20,000) / 3 = 0.005.
    torch.testing.assert_close((axes @ v).abs(), torch.eye(5), atol=0.02, rtol=0)
    # Each g of the first is 256 chi-squared of one degree of freedom: its mean is off by sqrt(2 / 20,000) = 1 %.
    torch.testing.assert_close(found.weights, 4.0 ** torch.arange(4, -1, -1), atol=0, rtol=0.06)


def test_the_search_leaves_the_model_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    found = strongest(model, probes=8)
    assert found.vectors.shape == (model.noise_dim, model.noise_dim)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert [module.training for module in model.modules()] == modes


def test_entries_are_unit_vectors():
    found = entries(GAN(SHAPE, 6, **PLAYERS))
    assert torch.equal(found.vectors, torch.eye(6))
    assert found.names[2] == "z 2"


def test_kinds_are_those_that_the_model_has(model):
    axes = Axes(model)
    network = not hasattr(model, "hierarchy")
    assert axes.kinds == ((STRONGEST, COMPONENTS, FIRST_LAYER, ENTRIES) if network else (STRONGEST, ENTRIES))
    for kind in axes.kinds:
        assert axes.of(kind).vectors.shape == (model.noise_dim, model.noise_dim)
        assert axes.of(kind) is axes.of(kind)
    if network:
        assert torch.equal(axes.of(FIRST_LAYER).vectors, sefa(model, model.latent_dim).vectors)
        assert torch.equal(axes.of(COMPONENTS).vectors, principal(model, model.latent_dim).vectors)
    with pytest.raises(ValueError, match="directions other: one of strongest change"):
        axes.of("other")


def test_directions_of_a_folder_come_first_and_are_the_models(tmp_path):
    torch.manual_seed(0)
    own = GAN(SHAPE, 6, **PLAYERS)
    vectors = torch.nn.functional.normalize(torch.randn(2, 6), dim=1)
    save_directions(tmp_path, own, "own", [Directions(("smile", "age"), vectors, torch.tensor([2.0, 1]))])
    axes = Axes(own, tmp_path)
    assert axes.kinds[0] == tmp_path.name
    found = axes.of(tmp_path.name)
    assert found.names == ("smile", "age")
    assert torch.equal(found.vectors, vectors)
    assert found.weights.tolist() == [2, 1]
    with pytest.raises(ValueError, match="of another model"):
        Axes(GAN(SHAPE, 6, **PLAYERS), tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no directions"):
        Axes(own, tmp_path / "nothing")
