"""CUT: its contrast by a slow reference, its patches, its features, one step's gradients, what may be given."""

from functools import partial

import pytest
import torch
from invariances import assert_invariant
from test_cyclegan import fit
from torch import nn

from datamodules import DigitsDataModule, RecolouredDigitsDataModule
from lit_gen import CUT, from_pretrained, save_pretrained
from lit_gen.losses.patches import PatchContrast
from lit_gen.networks import PatchGAN, ResNetTranslator, UNetTranslator

SHAPE = (3, 8, 8)
SMALL = {
    "generator": partial(ResNetTranslator, width=4, blocks=2, norm="none"),
    "discriminator": partial(PatchGAN, receptive_field=16, width=4, norm="none"),
    "projection": 5,
    "num_patches": 6,
}


def build(**options):
    torch.manual_seed(0)
    module = CUT(options.pop("shape", SHAPE), **{**SMALL, **options})
    for p in module.parameters():
        nn.init.normal_(p, 0, 0.2)
    return module


def images(n=3, seed=0):
    source = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, n, *SHAPE, generator=source, dtype=torch.float64) * 2 - 1
    return a, b, torch.rand(n, 64, generator=source), torch.rand(n, 64, generator=source)


def slow_contrast(module, x, numbers):
    """Equation 4 of the paper: patch by patch, of every image and stage."""
    terms, g, projector = [], module.generator_ab, module.projector
    with torch.no_grad():
        for image, own in zip(x, numbers, strict=True):
            made, of_image = g(image[None]), g.features(image[None])
            for i, (keys, queries) in enumerate(zip(of_image, g.features(made), strict=True)):
                order = sorted(range(64), key=lambda place: own[place].item())[:6]
                vectors = []
                for stage in (queries, keys):
                    flat = [projector.stages[i](stage[0, :, place // 8, place % 8]) for place in order]
                    vectors.append([v / v.norm() for v in flat])
                for q, (query, _) in enumerate(zip(*vectors, strict=True)):
                    likenesses = torch.stack([query @ key / module.contrast.temperature for key in vectors[1]])
                    terms.append(torch.logsumexp(likenesses, 0) - likenesses[q])
    return torch.stack(terms).mean().item()


def test_the_objective_of_the_paper_patch_by_patch():
    module = build(contrast_weight=2.0, identity_weight=0.5).double()
    a, b, of_a, of_b = images()
    loss, values, fake = module.generator_loss(a, b, of_a, of_b)
    contrast, identity = slow_contrast(module, a, of_a), slow_contrast(module, b, of_b)
    with torch.no_grad():
        adversarial = (module.discriminator(module.generator_ab(a)) - 1).square().mean().item()
    assert values["contrast"].item() == pytest.approx(contrast, rel=1e-9)
    assert values["identity"].item() == pytest.approx(identity, rel=1e-9)
    assert loss.item() == pytest.approx(adversarial + 2 * contrast + 0.5 * identity, rel=1e-9)
    torch.testing.assert_close(fake, module.generator_ab(a).detach())
    real, made = module.discriminator(b), module.discriminator(fake)
    expected = ((real - 1).square().mean() + made.square().mean()).item() / 2
    assert module.discriminator_loss(a, b, fake)[0].item() == pytest.approx(expected, rel=1e-9)


def test_without_the_identity_term_its_passes_are_left_out():
    module, sizes = build(identity_weight=0.0).double(), []
    module.generator_ab.layers[1].register_forward_hook(lambda *call: sizes.append(len(call[-1])))
    a, b, of_a, of_b = images()
    loss, values, _ = module.generator_loss(a, b, of_a, of_b)
    assert sizes == [3, 3]
    assert "identity" not in values
    expected = 2 * values["adversarial"].item() + slow_contrast(module, a, of_a)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("network", ["generator_ab", "projector"])
def test_gradients_are_finite_differences_with_the_keys_held(network):
    module = build().double()
    a, b, of_a, of_b = images(2)
    keys = []
    projector = module.projector.forward

    def held_keys(patches):
        if torch.is_grad_enabled():
            return projector(patches)
        if not keys:
            keys.append(projector(patches))
        return keys[0]

    module.projector.forward = held_keys

    def loss():
        return module.generator_loss(a, b, of_a, of_b)[0]

    loss().backward()
    parameters = list(module.get_submodule(network).parameters())
    directions = [torch.randn_like(p) for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True)).item()
    values = []
    for step in (1e-7, -2e-7):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p += step * d
        values.append(loss().item())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-7, rel=1e-5)
    assert abs(slope) > 1e-6


def make(**options):
    sgd = {f"{player}_optimizer": partial(torch.optim.SGD, lr=0.01) for player in ("generator", "discriminator")}
    return build(ema_half_life=100, **sgd, **options)


def spoil(module, batch):
    batch["a"][0].fill_(float("nan"))


def test_processes_parts_resumed_runs_and_updates_left_out(assert_same, tmp_path):
    parts = {"generator_accumulate": 2, "discriminator_accumulate": 2}
    assert_invariant(make, parts, assert_same, tmp_path, RecolouredDigitsDataModule, spoil)


def test_places_are_drawn_without_repetition_and_evenly():
    contrast, features = PatchContrast(num_patches=10), [torch.zeros(4000, 2, 4, 5), torch.zeros(4000, 2, 2, 2)]
    some, all_of_them = contrast.places(features, torch.rand(4000, 20, generator=torch.Generator().manual_seed(0)))
    assert some.shape == (4000, 10)
    assert all(len(set(row.tolist())) == 10 for row in some[:50])
    counts = torch.bincount(some.flatten(), minlength=20)
    assert ((counts - 2000).abs() < 5 * (4000 * 0.25) ** 0.5).all()
    assert all_of_them.sort(1).values.unique(dim=0).tolist() == [[0, 1, 2, 3]]


def test_features_are_those_of_the_published_stages():
    """The image, both halvings, the first and the fifth of nine blocks; from one pass with the translation."""
    network = ResNetTranslator((3, 32, 32), width=4, blocks=9, downsamplings=2)
    maps = network.features(x := torch.randn(2, 3, 32, 32))
    assert network.feature_channels == (3, 8, 16, 16, 16)
    assert [tuple(m.shape) for m in maps] == [(2, 3, 32, 32), (2, 8, 16, 16), *[(2, 16, 8, 8)] * 3]
    blocks = [i for i, layer in enumerate(network.layers) if type(layer).__name__ == "ResidualBlock"]
    torch.testing.assert_close(maps[3], network.layers[: blocks[0] + 1](x))
    torch.testing.assert_close(maps[4], network.layers[: blocks[4] + 1](x))
    made, same = network.with_features(x)
    torch.testing.assert_close(made, network(x))
    for one, other in zip(maps, same, strict=True):
        torch.testing.assert_close(one, other)
    assert ResNetTranslator((3, 8, 8), width=4, blocks=0).feature_channels == (3,)


def test_bfloat16_contrasts_are_float32():
    module = build()
    a, b, of_a, of_b = (x.float() for x in images())
    with torch.autocast("cpu", torch.bfloat16):
        _, values, _ = module.generator_loss(a, b, of_a, of_b)
    assert values["contrast"].dtype == torch.float32
    assert values["contrast"].item() == pytest.approx(
        module.generator_loss(a, b, of_a, of_b)[1]["contrast"].item(), rel=0.1
    )


def test_trained_and_kept_without_its_projection_it_translates(tmp_path):
    module = make()
    fit(module, steps=2, data=RecolouredDigitsDataModule(batch_size=8))
    x = torch.rand(2, 3, 11, 9) * 2 - 1
    save_pretrained(module, tmp_path / "model")
    torch.testing.assert_close(from_pretrained(tmp_path / "model").translate(x), module.translate(x))
    with pytest.raises(ValueError, match="to='a': 'b'"):
        module.translate(x, to="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"num_patches": 1}, "num_patches=1"),
        ({"projection": 0}, "width=0"),
        ({"identity_weight": -1.0}, "identity_weight=-1.0"),
        ({"generator": partial(UNetTranslator, width=4)}, "generator=UNetTranslator: CUT compares its features"),
    ],
)
def test_what_may_not_be_given(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_data_of_one_domain_are_refused():
    with pytest.raises(ValueError, match=r"data: CUT needs images of two domains.*UnpairedDataModule"):
        fit(build(shape=(1, 8, 8)), steps=1, data=DigitsDataModule())
