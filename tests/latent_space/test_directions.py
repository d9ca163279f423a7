"""Directions in latent space: closed forms on linear generators, planted factors, and what classifiers see."""

from functools import partial

import numpy as np
import pytest
import torch

import lit_gen
from lit_gen.latent_space import (
    Directions,
    fingerprint,
    load_direction,
    of_classes,
    of_groups,
    principal,
    save_directions,
    sefa,
    traverse,
)
from lit_gen.latent_space.directions import first_affine
from lit_gen.metrics import load_extractor
from lit_gen.models import GAN, HierarchicalVAE
from lit_gen.networks import DCGANGenerator, MLPDiscriminator, MLPGenerator


def gan(shape, latent_dim, generator=MLPGenerator, **options):
    torch.manual_seed(0)
    options = {"ema_half_life": None, **options}
    return GAN(shape, latent_dim, generator, partial(MLPDiscriminator, width=4), **options).eval()


def linear(weight):
    """G(z) = A z of points."""
    model = gan((weight.shape[0],), weight.shape[1], partial(MLPGenerator, depth=0))
    model.generator.layers[0].weight.data.copy_(weight)
    return model


def alike(a, b):
    """|cos| of the angles between the rows."""
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).abs()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_factors_of_a_linear_generator_are_its_singular_vectors():
    a = random(30, 6)
    found = sefa(linear(a), 4)
    _, s, v = np.linalg.svd(a.double().numpy())
    assert found.names == ("sefa_0", "sefa_1", "sefa_2", "sefa_3")
    torch.testing.assert_close(found.weights, torch.from_numpy(s[:4] ** 2).float())
    torch.testing.assert_close(alike(found.vectors, torch.from_numpy(v[:4])), torch.ones(4, dtype=torch.float64))
    assert (found.vectors.amax(1) == found.vectors.abs().amax(1)).all()


def test_components_of_linear_features_are_the_same_directions():
    q, _ = torch.linalg.qr(random(6, 6))
    a = random(30, 6) @ torch.diag(torch.tensor([9.0, 5.0, 3.0, 1.0, 0.5, 0.2])) @ q.T
    model = linear(a)
    found = principal(model, 3)
    assert (alike(found.vectors, sefa(model, 3).vectors) > 0.98).all()


@pytest.mark.parametrize("method", [sefa, principal])
def test_a_planted_factor_comes_first(method):
    planted = torch.nn.functional.normalize(random(8, seed=1), dim=0)
    model = gan((1, 8, 8), 8, partial(MLPGenerator, width=32))
    first = model.generator.layers[0]
    first.weight.data += 3 * random(32, 1, seed=2) @ planted[None]
    assert alike(method(model, 1).vectors[0], planted) > 0.95


def test_components_are_the_papers_by_brute_force():
    model, layer = lit_gen.from_pretrained("gan_digits", training=False), "layers.3"
    found = principal(model, 3, layer, samples=300, seed=5)
    z = random(300, model.latent_dim, seed=5)
    with torch.no_grad():
        y = dict(model.generator.named_modules())[layer](model.generator.layers[:3](z)).double()
    y, z = (y - y.mean(0)).numpy(), (z.double() - z.double().mean(0)).numpy()
    _, s, v = np.linalg.svd(y, full_matrices=False)
    u, *_ = np.linalg.lstsq(y @ v[:3].T, z)
    torch.testing.assert_close(alike(found.vectors, torch.from_numpy(u)), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(found.weights.double(), torch.from_numpy(s[:3] ** 2 / 299), rtol=1e-4, atol=0)


def test_the_first_layer_is_found_behind_joined_labels_and_in_averages():
    joined = gan((1, 8, 8), 5, partial(DCGANGenerator, width=4), num_classes=3, conditional=True, ema_half_life=100)
    average = joined.averages["generator"].network.trunk[0].weight
    average.data += 1
    assert torch.equal(first_affine(joined), average.detach()[:, :5])
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="HierarchicalVAE has no network that makes images of latent vectors alone"):
        sefa(HierarchicalVAE((1, 8, 8)))
    with pytest.raises(ValueError, match=r"layer=nonsense: this DCGANGenerator has .*trunk\.0"):
        principal(joined, layer="nonsense")


def test_directions_of_groups():
    first, second = random(200, 5), random(100, 5, seed=1) + torch.tensor([0.0, 8.0, 0.0, 0.0, 0.0])
    first[:, 0] *= 30  # a spread without meaning, which shifts the means
    for method in ("means", "svm"):
        vector, weight = of_groups(first, second, method)
        assert vector[1] > 0.9
        assert vector.norm().item() == pytest.approx(1, abs=1e-6)
        distance = (second.mean(0) - first.mean(0)).norm().item()
        assert weight == pytest.approx(distance if method == "means" else 1.0)
    classes = of_classes(torch.cat([first, second]), torch.tensor([4] * 200 + [7] * 100), list("0123456789"))
    assert classes.names == ("means_4", "means_7")
    torch.testing.assert_close(classes.vectors[0], -classes.vectors[1])
    with pytest.raises(ValueError, match="latents of 1 class"):
        of_classes(first, torch.zeros(200), ["0"])
    with pytest.raises(ValueError, match=r"groups of shapes \(200, 5\) and \(0, 5\)"):
        of_groups(first, second[:0])
    with pytest.raises(ValueError, match="method='median'"):
        of_groups(first, second, "median")


@pytest.mark.parametrize("method", ["means", "svm"])
def test_along_the_direction_of_a_class_a_classifier_sees_it_more_often(method):
    model, classifier = lit_gen.from_pretrained("vae_digits", training=False), load_extractor("digits")

    def seen(images):
        return classifier.extract(images)[1].argmax(1)

    z = random(600, model.latent_dim)
    with torch.no_grad():
        found = of_classes(z, seen(model.decode(z)), list("0123456789"), method)
    new = random(100, model.latent_dim, seed=1)
    for name, vector in zip(found.names[:3], found.vectors[:3], strict=True):
        moved = traverse(model, new, vector, torch.tensor([-2.0, 0.0, 2.0]))
        less, now, more = ((seen(moved[:, i]) == int(name[-1])).double().mean() for i in range(3))
        assert more > now + 0.2
        assert less < 0.6 * now


def test_images_along_a_direction():
    model = lit_gen.from_pretrained("cgan_digits", training=False)
    z, d, labels = random(3, model.latent_dim), random(model.latent_dim, seed=1), torch.tensor([1, 5, 9])
    images = traverse(model, z, d, torch.tensor([-1.0, 0.5]), labels)
    for i in range(3):
        for j, strength in enumerate((-1.0, 0.5)):
            expected = model.generate((z[i] + strength * d)[None], labels[i : i + 1])[0]
            torch.testing.assert_close(images[i, j], expected)


# ---- kept


@pytest.fixture
def kept(tmp_path):
    model = gan((1, 8, 8), 4, partial(MLPGenerator, width=8), ema_half_life=100)
    kinds = [sefa(model, 2), Directions(("means_3",), random(1, 4), torch.tensor([0.5]))]
    save_directions(tmp_path, model, "mine.ckpt", kinds)
    return tmp_path, model, kinds


def test_directions_come_back_for_their_model_alone(kept):
    folder, model, kinds = kept
    for kind in kinds:
        for name, vector in zip(kind.names, kind.vectors, strict=True):
            assert torch.equal(load_direction(folder / name, model), vector)
    lit_gen.save_pretrained(model, folder / "saved")  # whose weights are the averages
    again = lit_gen.from_pretrained(folder / "saved", training=False)
    assert fingerprint(again) == fingerprint(model)
    assert torch.equal(load_direction(folder / "sefa_1", again), kinds[0].vectors[1])
    again.generator.layers[0].weight.data[0, 0] += 1e-6
    with pytest.raises(ValueError, match=r"sefa_1: of another model, the GAN of mine\.ckpt"):
        load_direction(folder / "sefa_1", again)


def test_directions_that_there_are_not(kept):
    folder, model, _ = kept
    for name in ("sefa_2", ""):
        with pytest.raises(ValueError, match=r"name one of the directions in .*: sefa_0, sefa_1, means_3"):
            load_direction(folder / name, model)
    with pytest.raises(FileNotFoundError, match="holds no directions; lit-gen directions MODEL"):
        load_direction(folder / "elsewhere" / "sefa_0", model)
    (folder / "directions.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"not the directions of directions\.json"):
        load_direction(folder / "sefa_0", model)
