"""What every stack of stochastic layers promises. A new one is one line in `every_hierarchy.STACKS`."""

import copy
import json

import pytest
import torch
from every_hierarchy import DENSE, MAPS, STACKS, build, draw, log_density
from families import unlisted

import lit_gen.networks
import lit_gen.pretrained.specification as specification
from lit_gen.distributions import kl_normal
from lit_gen.networks import Hierarchy
from lit_gen.networks.stochastic import Posterior


def test_every_public_hierarchy_is_listed():
    assert not unlisted(lit_gen.networks, Hierarchy, STACKS)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize(
    ("shape", "convolutional"),
    [((2,), False), ((5, 7, 9), False), ((5, 7, 9), True), ((1, 28, 28), True), ((3, 16, 8), True)],
)
@pytest.mark.parametrize("cls", STACKS)
def test_any_depth_and_size_reaches_every_weight(cls, shape, convolutional, layers, norm):
    torch.manual_seed(0)
    hierarchy = cls(
        shape, (2, *shape[1:]), (3, 2, 2, 1, 2)[:layers], (4,) * layers, norm=norm, convolutional=convolutional
    )
    noise = torch.randn(2, 3, hierarchy.latent_dim)
    params, latents = hierarchy(noise, torch.rand(3, *shape))
    assert params.shape == (2, 3, 2, *shape[1:])
    assert [latent.z.shape for latent in latents] == [(2, 3, *shape) for shape in hierarchy.latent_shapes]
    loss = params.square().sum() + sum(
        log_density(z.z, z.posterior).sum() - log_density(z.z, z.prior).sum() for z in latents
    )
    loss.backward()
    for name, parameter in hierarchy.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert hierarchy(noise)[0].shape == params.shape


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_an_image_is_alone_in_its_batch(cls, options):
    hierarchy = build(cls, **options)
    noise, x = draw(hierarchy)
    order = torch.tensor([2, 0, 3, 1])
    params, latents = hierarchy(noise, x)
    shuffled, others = hierarchy(noise[:, order], x[order])
    torch.testing.assert_close(shuffled, params[:, order])
    for latent, other in zip(latents, others, strict=True):
        torch.testing.assert_close(other.z, latent.z[:, order])
        kl, other_kl = (kl_normal(*item.posterior, *item.prior).flatten(2).sum(2) for item in (latent, other))
        torch.testing.assert_close(other_kl, kl[:, order])


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_bfloat16_keeps_densities_in_float32(cls, options):
    hierarchy = build(cls, **options).float()
    noise, x = (tensor.float() for tensor in draw(hierarchy))
    with torch.autocast("cpu", torch.bfloat16):
        _, latents = hierarchy(noise, x)
    assert all(t.dtype == torch.float32 for latent in latents for t in (latent.z, *latent.posterior, *latent.prior))


class Prior(Posterior):
    def forward(self, prior, evidence, state):
        return prior


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_inference_with_q_set_to_p_is_generation(cls, options):
    hierarchy = build(cls, **options)
    noise, x = draw(hierarchy)
    before, _ = hierarchy(noise, x)
    expected, generated = hierarchy(noise)
    assert not torch.allclose(before, expected)
    for layer in hierarchy.layers:
        layer.posterior = Prior()
    params, latents = hierarchy(noise, x)
    assert torch.equal(params, expected)
    assert all(torch.equal(a.z, b.z) for a, b in zip(latents, generated, strict=True))


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_given_layers_stay_and_those_below_are_drawn_from_p(cls, options):
    hierarchy = build(cls, **options)
    noise, x = draw(hierarchy)
    other, _ = draw(hierarchy, seed=2)
    params, latents = hierarchy(noise, x)
    given = [None, *(latent.z for latent in latents[1:])]
    changed, redrawn = hierarchy(other, None, given)
    assert torch.equal(redrawn[1].z, latents[1].z)
    for a, b in zip(redrawn[0].prior, latents[0].prior, strict=True):
        torch.testing.assert_close(a, b)
    mean, log_scale = latents[0].prior
    torch.testing.assert_close(redrawn[0].z, mean + log_scale.exp() * hierarchy.split(other)[0])
    assert not torch.allclose(changed, params)
    everything = [latent.z for latent in latents]
    torch.testing.assert_close(hierarchy(other, None, everything)[0], params)


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_the_posterior_at_given_latents_is_that_which_drew_them(cls, options):
    hierarchy = build(cls, **options)
    noise, x = draw(hierarchy)
    _, latents = hierarchy(noise, x)
    other, _ = draw(hierarchy, seed=2)
    _, again = hierarchy(other, x, [latent.z for latent in latents])
    for latent, repeated in zip(latents, again, strict=True):
        assert torch.equal(repeated.z, latent.z)
        for a, b in zip(repeated.posterior, latent.posterior, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_seeds_states_and_descriptions_give_the_stack_again(cls, options):
    hierarchy, same = build(cls, **options), build(cls, **options)
    shapes = {"image_shape": [1, 8, 8], "output_shape": [1, 8, 8]}
    arguments = json.loads(json.dumps(specification.describe(options)))
    rebuilt = specification.build(specification.class_path(cls), {**shapes, **arguments}).double()
    state = hierarchy.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in same.state_dict().items())
    noise, x = draw(hierarchy)
    expected, latents = hierarchy(noise, x)
    assert expected.dtype == torch.float64
    assert not torch.equal(rebuilt(noise, x)[0], expected)
    rebuilt.load_state_dict(state)
    for other in (rebuilt, copy.deepcopy(hierarchy), hierarchy):
        params, repeated = other(noise, x)
        assert torch.equal(params, expected)
        assert all(torch.equal(a.z, b.z) for a, b in zip(repeated, latents, strict=True))
    one, _ = hierarchy(noise[:, :1], x[:1])
    torch.testing.assert_close(one, expected[:, :1])
