"""Gradients through the discriminator's steps, which are second derivatives in all that the discriminator sees."""

import pytest
import torch
from lit_gen.modules.unrolled import UnrolledAdam, UnrolledSGD
from torch import nn
from torch.nn import functional as F

from lit_gen.kernels import DirectDoubleBackward, FastConvolutions


class Attention(nn.Module):
    """Self-attention by PyTorch's function, which has faster forms without a second derivative."""

    def forward(self, tokens):
        tokens = tokens.unflatten(1, (2, -1)).transpose(2, 3)  # two heads
        return F.scaled_dot_product_attention(tokens, tokens, tokens)


def critic(attentive):
    between = [nn.Flatten(2), Attention(), nn.Flatten()] if attentive else [nn.Tanh(), nn.Flatten()]
    network = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.Softplus(), nn.Conv2d(8, 4, 3, 1, 1), *between, nn.Linear(64, 1)
    )
    return network.to(memory_format=torch.channels_last)


def looked_ahead(network, fake, unroll):
    real = (drawn() * 2 + 0.5).detach().to(fake.dtype)
    inner = lambda: F.softplus(-network(real)).mean() + F.softplus(network(fake)).mean()  # noqa: E731
    return unroll(network, network.parameters(), inner, lambda: F.softplus(-network(fake)).mean())


def drawn():
    return torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("attentive", [False, True], ids=["convolutions", "attention"])
@pytest.mark.parametrize("unroll", [UnrolledSGD(2, 0.5), UnrolledAdam(2, 0.01)], ids=["sgd", "adam"])
def test_the_gradient_in_the_generated_images_by_finite_differences(unroll, attentive):
    torch.manual_seed(0)
    network, fake, step = critic(attentive).double(), drawn(), 1e-5
    for mode in (FastConvolutions, DirectDoubleBackward):
        with mode():
            loss = looked_ahead(network, fake, unroll)
            (gradient,) = torch.autograd.grad(loss, fake)
            direction = gradient / gradient.norm()
            sides = [looked_ahead(network, fake + sign * step * direction, unroll).item() for sign in (1, -1)]
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_attention_is_looked_through_in_float32_too():
    """The precision in which PyTorch would take its faster attention."""
    torch.manual_seed(0)
    network, gradients = critic(True), []
    for dtype in (torch.float64, torch.float32):
        images = drawn().detach().to(dtype).requires_grad_()
        loss = looked_ahead(network.to(dtype), images, UnrolledSGD(2, 0.5))
        gradients += torch.autograd.grad(loss, images)
    exactly, ours = gradients
    torch.testing.assert_close(ours.double(), exactly, rtol=0, atol=1e-4 * exactly.abs().max().item())
