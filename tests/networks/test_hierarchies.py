"""Stacks of stochastic layers against the papers' formulas written out plainly, in float64."""

import math

import pytest
import torch
from every_hierarchy import DENSE, MAPS, STACKS, build, draw, log_density
from torch import nn
from torch.distributions import Normal

from lit_gen.distributions import kl_normal
from lit_gen.networks import BottomUp, Ladder, TopDown
from lit_gen.networks.stochastic import Latent, precision_weighted


def test_maps_are_halved_down_to_four_pixels_or_by_the_strides():
    sides = [s[1:] for s in Ladder((1, 28, 28), (1, 28, 28), (1,) * 5, (2,) * 5, convolutional=True).latent_shapes]
    assert sides == [(14, 14), (7, 7), (4, 4), (4, 4), (4, 4)]
    strided = Ladder((1, 8, 6), (1, 8, 6), (1,) * 3, (2,) * 3, convolutional=True, strides=(1, 2, 2))
    assert [s[1:] for s in strided.latent_shapes] == [(8, 6), (4, 3), (2, 2)]
    assert strided(torch.randn(1, 2, strided.latent_dim))[0].shape == (1, 2, 1, 8, 6)


# The posteriors


def test_the_merge_is_the_product_of_two_gaussians():
    """By quadrature of the product itself."""
    grid = torch.linspace(-30, 30, 600_001, dtype=torch.float64)
    for mean_p, scale_p, mean, scale in [(0.0, 1.0, 2.0, 0.5), (-1.5, 0.3, 1.0, 2.0), (3.0, 1.0, 3.0, 1.0)]:
        product = Normal(mean_p, scale_p).log_prob(grid).exp() * Normal(mean, scale).log_prob(grid).exp()
        product /= product.sum()
        expected_mean = (product * grid).sum()
        expected_scale = (product * (grid - expected_mean).square()).sum().sqrt()
        arguments = (mean_p, math.log(scale_p), mean, math.log(scale))
        merged_mean, log_scale = precision_weighted(*(torch.tensor(a, dtype=torch.float64) for a in arguments))
        torch.testing.assert_close(merged_mean, expected_mean, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(log_scale.exp(), expected_scale, rtol=1e-6, atol=1e-9)


def test_the_merge_survives_extreme_scales():
    one = torch.tensor(1.0)
    for log_scale_p, log_scale in [(-12.0, 12.0), (12.0, -12.0), (-60.0, 60.0)]:
        scales = [torch.tensor(s, requires_grad=True) for s in (log_scale_p, log_scale)]
        mean, merged = precision_weighted(-one, scales[0], one, scales[1])
        torch.testing.assert_close(mean, torch.tensor(-1.0 if log_scale_p < log_scale else 1.0))
        torch.testing.assert_close(merged, torch.tensor(min(log_scale_p, log_scale)))
        (mean + merged).backward()
        assert all(s.grad.isfinite() for s in scales)


@pytest.mark.parametrize("options", [DENSE, MAPS])
def test_a_top_down_posterior_begins_at_the_prior(options):
    hierarchy = TopDown((1, 8, 8), (1, 8, 8), **options).double()
    noise, x = draw(hierarchy)
    params, latents = hierarchy(noise, x)
    torch.testing.assert_close(params, hierarchy(noise)[0])
    for latent, part in zip(latents, hierarchy.split(noise), strict=True):
        assert kl_normal(*latent.posterior, *latent.prior).abs().max() == 0
        assert torch.equal(latent.z, part)


# The papers' models, image by image, with variances


def mlp(network, x):
    """The layers one after another, without the arithmetic over samples."""
    for module in network:
        x = module(x)
    return x


def gaussian(network, x):
    mean, log_scale = mlp(network.layers, x).chunk(2, dim=1)
    return mean[0], log_scale[0].exp().square()


def merged(mean_p, variance_p, mean, variance):
    """Equations of Sønderby et al.: precisions add, means are weighted by them."""
    joint = 1 / (1 / variance + 1 / variance_p)
    return (mean / variance + mean_p / variance_p) * joint, joint


def bottom_up_reference(h, x, noise):
    posteriors, z = [], []
    for t, network in enumerate(h.recognition):
        mean, variance = gaussian(network, x if t == 0 else z[-1][None])
        posteriors.append((mean, variance))
        z.append(mean + variance.sqrt() * noise[t])
    priors = [gaussian(layer.prior, above[None]) for layer, above in zip(h.layers, z[1:], strict=False)]
    return mlp(h.output, z[0][None]), z, posteriors, [*priors, (torch.zeros(2).double(), torch.ones(2).double())]


def ladder_reference(h, x, noise):
    d, evidence = x, []
    for block, head in zip(h.up, h.evidences, strict=True):
        d = mlp(block, d)
        evidence.append(gaussian(head, d))
    posteriors, z = [evidence[-1]], []
    z.append(evidence[-1][0] + evidence[-1][1].sqrt() * noise[-1])
    priors = [(torch.zeros(2).double(), torch.ones(2).double())]
    for t in (1, 0):
        prior = gaussian(h.layers[t].prior, z[0][None])
        posterior = merged(*prior, *evidence[t])
        z.insert(0, posterior[0] + posterior[1].sqrt() * noise[t])
        priors.insert(0, prior)
        posteriors.insert(0, posterior)
    return mlp(h.output, z[0][None]), z, posteriors, priors


def top_down_reference(h, x, noise):
    path = [x]
    for block in h.up:
        path.append(mlp(block, path[-1]))
    state, z, posteriors, priors = h.constant[0], [], [], []
    for t in (2, 1, 0):
        layer = h.layers[t]
        if layer.prior is None:
            prior = (torch.zeros(2).double(), torch.ones(2).double())
        else:
            prior = gaussian(layer.prior, state)
        shift, ratio = gaussian(layer.posterior.difference, torch.cat([state, path[t + 1]], 1))
        posterior = (prior[0] + shift, prior[1] * ratio)
        z.insert(0, posterior[0] + posterior[1].sqrt() * noise[t])
        state = mlp(layer.transition.down, state + mlp(layer.transition.merge, torch.cat([state, z[0][None]], 1)))
        priors.insert(0, prior)
        posteriors.insert(0, posterior)
    return mlp([h.output], state), z, posteriors, priors


REFERENCES = {BottomUp: bottom_up_reference, Ladder: ladder_reference, TopDown: top_down_reference}


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cls", STACKS)
def test_samples_and_densities_are_those_of_the_paper(cls, depth):
    hierarchy = build(cls, depth=depth)
    noise, x = draw(hierarchy)
    params, latents = hierarchy(noise, x)
    for k in range(3):
        for i in range(4):
            epsilon = noise[k, i].split(hierarchy.sizes)
            expected, z, posteriors, priors = REFERENCES[cls](hierarchy, x[i : i + 1], epsilon)
            torch.testing.assert_close(params[k, i], expected[0])
            for t, latent in enumerate(latents):
                torch.testing.assert_close(latent.z[k, i], z[t])
                for own, (mean, variance) in ((latent.posterior, posteriors[t]), (latent.prior, priors[t])):
                    density = log_density(latent.z, own)[k, i]
                    torch.testing.assert_close(density, Normal(mean, variance.sqrt()).log_prob(z[t]).sum())


# The divergence


def test_the_ladders_divergence_is_from_the_conditional_prior_with_its_half():
    """KL(q(z_1 | z_2, x) ‖ p(z_1 | z_2)) by a million samples of q."""
    hierarchy = build(Ladder, seed=3)
    for layer in hierarchy.layers[:-1]:  # priors far from N(0, 1)
        with torch.no_grad():
            layer.prior.layers[-1][1].bias.copy_(torch.linspace(-1, 1, len(layer.prior.layers[-1][1].bias)))
    noise, x = draw(hierarchy, samples=1, images=1)
    _, latents = hierarchy(noise, x)
    for latent in latents:
        closed = kl_normal(*latent.posterior, *latent.prior).sum()
        q, p = (Normal(mean[0, 0], log_scale[0, 0].exp()) for mean, log_scale in (latent.posterior, latent.prior))
        z = q.sample((1_000_000,))
        ratio = (q.log_prob(z) - p.log_prob(z)).sum(1)
        assert abs(closed - ratio.mean()) < 5 * ratio.std() / 1000
        assert closed > 0.1


@pytest.mark.parametrize("cls", STACKS)
def test_only_a_top_down_pass_leaves_layers_independent_of_those_above(cls):
    hierarchy = build(cls)
    _, latents = hierarchy(*draw(hierarchy))
    assert [latent.independent for latent in latents] == ([False, False, True] if cls is BottomUp else [True] * 3)


# Two linear layers: z_2 ~ N(0, 1), z_1 = a z_2 + s ε, x = w z_1 + r ε. All posteriors are known.

A, S, W, R = 1.3, 0.6, 0.8, 0.5


class Affine(nn.Module):
    """A Gaussian of mean `slope` · input and a constant scale."""

    def __init__(self, slope, scale):
        super().__init__()
        self.slope, self.scale = slope, scale

    def forward(self, x):
        mean = self.slope * x
        return mean, torch.full_like(mean, math.log(self.scale))


class Scaled(nn.Module):
    def forward(self, x):
        return W * x


def linear_gaussian(cls):
    hierarchy = build(cls, shape=(1,), latent_dims=(1, 1), widths=(2, 2))
    hierarchy.layers[0].prior = Affine(A, S)
    hierarchy.output = Scaled()
    variance = A**2 + S**2  # of z_1
    precision = 1 / variance + W**2 / R**2
    if cls is BottomUp:  # p(z_1 | x) and p(z_2 | z_1)
        hierarchy.recognition[0] = Affine(W / R**2 / precision, precision**-0.5)
        precision = 1 + A**2 / S**2
        hierarchy.recognition[1] = Affine(A / S**2 / precision, precision**-0.5)
    else:  # the ladder needs no more than the likelihood of z_1 and p(z_2 | x): the merge does the rest
        hierarchy.climb = lambda x: [x[None], x[None]]
        hierarchy.evidences[0] = Affine(1 / W, R / W)
        noise = W**2 * S**2 + R**2
        precision = 1 + (W * A) ** 2 / noise
        hierarchy.evidences[1] = Affine(W * A / noise / precision, precision**-0.5)
    return hierarchy


def log_weights(latents: list[Latent], params, x):
    likelihood = Normal(params, R).log_prob(x).sum(2)
    return likelihood + sum(log_density(item.z, item.prior) - log_density(item.z, item.posterior) for item in latents)


@pytest.mark.parametrize("cls", [BottomUp, Ladder])
def test_with_the_true_posterior_every_weight_is_the_evidence(cls):
    hierarchy = linear_gaussian(cls)
    x = torch.tensor([[-2.0], [0.3], [4.0]], dtype=torch.float64)
    noise = torch.randn(1000, 3, 2, dtype=torch.float64)
    params, latents = hierarchy(noise, x)
    evidence = Normal(0.0, math.sqrt(W**2 * (A**2 + S**2) + R**2)).log_prob(x[:, 0])
    torch.testing.assert_close(log_weights(latents, params, x), evidence.expand(1000, 3))
    latents = [item if t == 0 else item._replace(posterior=Affine(0.0, 1.0)(item.z)) for t, item in enumerate(latents)]
    assert (log_weights(latents, params, x) - evidence).abs().max() > 0.1


def test_bad_arguments_are_named():
    for options, message in [
        ({"latent_dims": (3, 2)}, r"latent_dims=\[3, 2\], widths=\[7, 6, 5\]: one number"),
        ({"latent_dims": (), "widths": ()}, r"latent_dims=\[\]"),
        ({"latent_dims": (3, 0, 2)}, r"latent_dims=\[3, 0, 2\].*at least 1"),
        ({"depth": 0}, "depth=0"),
        ({"shape": (2,), "convolutional": True}, r"image_shape=\(2,\)"),
        ({"strides": (1, 1, 1)}, "only convolutional=true"),
        ({"strides": (1, 3, 1), "convolutional": True}, r"strides=\[1, 3, 1\]"),
        ({"strides": (1, 2), "convolutional": True}, "each of the 3 layers"),
        ({"norm": "instance"}, "norm='instance'"),
    ]:
        with pytest.raises(ValueError, match=message):
            build(Ladder, **options)
