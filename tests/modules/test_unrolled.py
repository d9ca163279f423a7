"""The generator's gradient through the steps ahead, against unrolling by hand and against finite differences."""

import copy
from functools import partial

import pytest
import torch
from lit_gen.modules.unrolled import UnrolledAdam, UnrolledSGD
from test_update import build, fit
from torch import nn
from torch.nn import functional as F

from lit_gen import GAN, WGAN, WGANGP
from lit_gen.losses import R1, Hinge, LeastSquares, NonSaturating, RelativisticPairing, SpectralNorm, Wasserstein
from lit_gen.modules.adversarial import GANDraw
from lit_gen.networks import Discriminator, MLPDiscriminator, MLPGenerator

LOSSES = [NonSaturating(), LeastSquares(), Hinge(), Wasserstein(), RelativisticPairing()]
ADAM = {"lr": 0.2, "betas": (0.5, 0.9), "eps": 1e-9}


class Critic(Discriminator):
    """v · tanh(W x + b), smooth, so that finite differences are exact to their order."""

    def __init__(self, image_shape):
        super().__init__(image_shape)
        self.w, self.b = nn.Parameter(torch.randn(5, image_shape[0])), nn.Parameter(torch.randn(5))
        self.v = nn.Parameter(torch.randn(5))

    def forward(self, x):
        return torch.tanh(x @ self.w.T + self.b) @ self.v


def game(unroll=None, **options):
    """A double-precision GAN of points in the plane outside a trainer, and a batch of data and latents."""
    torch.manual_seed(0)
    networks = {"generator": partial(MLPGenerator, width=4, depth=1), "discriminator": Critic}
    module = GAN((2,), latent_dim=3, unroll=unroll, **{**networks, **options}).double()
    module.configure_optimizers()
    return module, torch.randn(6, 2, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)


def generator_gradient(module, real, z):
    loss, _ = module.generator_loss(GANDraw(real, z, torch.rand(len(z))))
    return loss, torch.autograd.grad(loss, list(module.generator.parameters()))


def unrolled_by_hand(module, real, z, steps, advance):
    """The same through explicit tensors w, b, v in place of a module's parameters."""
    d = module.discriminator
    theta = [d.w.detach().clone().requires_grad_(), d.b.detach().clone().requires_grad_(), d.v.detach().clone()]
    theta[2].requires_grad_()

    def scores(x, w, b, v):
        return torch.tanh(x @ w.T + b) @ v

    fake = module.generator(z)
    memory = None
    for t in range(1, steps + 1):
        loss = module.loss.discriminator(scores(real, *theta), scores(fake, *theta))
        gradients = torch.autograd.grad(loss, theta, create_graph=True)
        theta, memory = advance(t, theta, gradients, memory)
    loss = module.loss.generator(scores(fake, *theta), scores(real, *theta))
    return loss, torch.autograd.grad(loss, list(module.generator.parameters()))


def descent(t, theta, gradients, memory):
    return [p - 0.3 * g for p, g in zip(theta, gradients, strict=True)], None


def adam(t, theta, gradients, memory):
    """Kingma and Ba's algorithm 1 with rates 0.3, 0.6 and 0.9, ε = 1e-3 under the root."""
    m, v = memory or ([0.0] * 3, [0.0] * 3)
    m = [0.6 * a + 0.4 * g for a, g in zip(m, gradients, strict=True)]
    v = [0.9 * a + 0.1 * g**2 for a, g in zip(v, gradients, strict=True)]
    steps = [(a / (1 - 0.6**t)) / torch.sqrt(b / (1 - 0.9**t) + 1e-6) for a, b in zip(m, v, strict=True)]
    return [p - 0.3 * s for p, s in zip(theta, steps, strict=True)], (m, v)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize(
    ("unroll", "advance"),
    [(UnrolledSGD(3, lr=0.3), descent), (UnrolledAdam(3, lr=0.3, betas=(0.6, 0.9), eps=1e-3), adam)],
    ids=["SGD", "Adam"],
)
def test_the_gradient_equals_unrolling_by_hand(unroll, advance, loss):
    module, real, z = game(unroll, loss=loss)
    value, gradients = generator_gradient(module, real, z)
    expected, by_hand = unrolled_by_hand(module, real, z, 3, advance)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("unroll", "optimizer"),
    [
        (UnrolledSGD(4, lr=0.2), partial(torch.optim.SGD, lr=0.2)),
        (UnrolledAdam(4, **ADAM), partial(torch.optim.Adam, **ADAM)),
    ],
    ids=["SGD", "Adam"],
)  # fmt: skip
def test_the_gradient_equals_finite_differences_of_real_optimizers(unroll, optimizer):
    module, real, z = game(unroll)
    value, gradients = generator_gradient(module, real, z)

    def trained(generator):
        """L_G after the discriminator's copy was trained by torch's own optimizer."""
        d, fake = copy.deepcopy(module.discriminator), generator(z).detach()
        steps = optimizer(d.parameters())
        for _ in range(4):
            steps.zero_grad()
            (F.softplus(-d(real)) + F.softplus(d(fake))).mean().backward()
            steps.step()
        return F.softplus(-d(fake)).mean().item()

    assert trained(module.generator) == pytest.approx(value.item(), rel=1e-6)
    for i, gradient in enumerate(gradients):
        for j in range(gradient.numel()):
            ends = []
            for step in (1e-5, -1e-5):
                moved = copy.deepcopy(module.generator)
                list(moved.parameters())[i].data.view(-1)[j] += step
                ends.append(trained(moved))
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(gradient.view(-1)[j]), rel=1e-4, abs=1e-7)


def test_no_step_ahead_is_the_plain_gan_and_one_is_not():
    plain, none, one = (generator_gradient(*game(unroll)) for unroll in (None, UnrolledSGD(0), UnrolledSGD(1, lr=0.3)))
    for a, b in zip(plain[1], none[1], strict=True):
        assert torch.equal(a, b)
    assert not torch.allclose(plain[1][0], one[1][0], rtol=1e-2)


def test_layers_that_the_user_froze_stand_still_ahead_too():
    module, real, z = game(UnrolledSGD(2, lr=0.3))
    module.discriminator.w.requires_grad_(False)
    module.discriminator.b.requires_grad_(False)
    module.configure_optimizers()
    _, gradients = generator_gradient(module, real, z)
    _, by_hand = unrolled_by_hand(
        module, real, z, 2, lambda t, theta, g, memory: ([*theta[:2], theta[2] - 0.3 * g[2]], None)
    )
    for a, b in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"minibatch": "stddev"}, "spectral"], ids=str)
def test_buffers_and_weights_of_the_discriminator_are_left_alone(options):
    constraint = SpectralNorm() if options == "spectral" else None
    critic = partial(MLPDiscriminator, width=8, depth=2, **({} if constraint else options))
    module, real, z = game(UnrolledSGD(3, lr=0.3), discriminator=critic, constraint=constraint)
    before = copy.deepcopy(module.discriminator.state_dict())
    _, gradients = generator_gradient(module, real, z)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    for name, tensor in module.discriminator.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in module.discriminator.parameters())


@pytest.mark.parametrize("unroll", [UnrolledSGD(2), UnrolledAdam(2)], ids=str)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_moves_both_players_and_steps_the_discriminator_as_usual(unroll, precision):
    plain, module = build(GAN), build(GAN, unroll=unroll)
    first = copy.deepcopy(module.generator.state_dict())
    fit(plain, steps=1, precision=precision)
    fit(module, steps=1, precision=precision)
    for a, b in zip(plain.discriminator.parameters(), module.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
    changed = [not torch.equal(a, first[name]) for name, a in module.generator.state_dict().items()]
    assert all(changed)
    assert any(
        not torch.equal(a, b) for a, b in zip(plain.generator.parameters(), module.generator.parameters(), strict=True)
    )


def test_the_steps_ahead_stay_in_float32_under_float16_autocast():
    critic = partial(MLPDiscriminator, width=8, depth=2)
    module, real, z = game(UnrolledSGD(3, lr=1.0), discriminator=critic)
    module, real, z = module.float(), real.float(), z.float()
    module.configure_optimizers()
    _, exact = generator_gradient(module, real, z)
    dtypes = []
    module.discriminator.layers[0].register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    with torch.autocast("cpu", torch.float16):
        _, mixed = generator_gradient(module, real, z)
    assert dtypes == [torch.float32] * 3 + [torch.float16]
    for a, b in zip(mixed, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=3e-2, atol=3e-3 * b.abs().max().item())


def test_what_the_steps_ahead_cannot_know_is_refused():
    with pytest.raises(ValueError, match=r"unroll=UnrolledSGD.*no penalty"):
        build(GAN, unroll=UnrolledSGD(), penalty=R1())
    with pytest.raises(ValueError, match=r"unroll=UnrolledSGD.*weight clip"):
        build(WGAN, unroll=UnrolledSGD())
    with pytest.raises(ValueError, match="unroll"):
        build(WGANGP, unroll=UnrolledSGD())


@pytest.mark.parametrize("make", [UnrolledSGD, UnrolledAdam])
@pytest.mark.parametrize("wrong", [{"steps": -1}, {"lr": 0.0}, {"lr": float("nan")}])
def test_wrong_settings_are_named(make, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}: {make.__name__}"):
        make(**wrong)
