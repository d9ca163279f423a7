"""The peers of `scripts/benchmark steps`: float32 loops as tutorials and papers' code have them.

No frozen networks, two discriminator passes, penalties by autograd, PyTorch's own optimizers, images one by one through
torchvision's transforms where loading them counts. Each peer takes a network as ours has it and yields after each step.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

Loop = Iterator[None]


def adam(network: nn.Module, lr: float = 2e-4, betas: tuple[float, float] = (0.5, 0.999)) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas)


def gan(generator: nn.Module, discriminator: nn.Module, batches: Callable[[], Tensor]) -> Loop:
    """DCGAN's loop in PyTorch's examples: real, fake, then the generator through the same fakes."""
    step_g, step_d = adam(generator), adam(discriminator)
    while True:
        real = batches()
        step_d.zero_grad()
        F.softplus(-discriminator(real)).mean().backward()
        fake = generator(torch.randn(len(real), generator.latent_dim, device=real.device))
        F.softplus(discriminator(fake.detach())).mean().backward()
        step_d.step()
        step_g.zero_grad()
        F.softplus(-discriminator(fake)).mean().backward()
        step_g.step()
        yield


def critic(generator: nn.Module, discriminator: nn.Module, batches: Callable[[], Tensor]) -> Loop:
    """WGAN-GP's critic step: real, fake, and the penalty by autograd."""
    step = adam(discriminator, 1e-4, (0.0, 0.9))
    while True:
        real = batches()
        fake = generator(torch.randn(len(real), generator.latent_dim, device=real.device)).detach()
        epsilon = torch.rand(len(real), 1, 1, 1, device=real.device)
        points = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
        scores = discriminator(points)
        (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
        penalty = 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        step.zero_grad()
        (discriminator(fake).mean() - discriminator(real).mean() + penalty).backward()
        step.step()
        yield


def wgan_generator(generator: nn.Module, discriminator: nn.Module, batches: Callable[[], Tensor]) -> Loop:
    """WGAN-GP's generator step, with the critic's useless gradients."""
    step = adam(generator, 1e-4, (0.0, 0.9))
    real = batches()
    while True:
        step.zero_grad()
        (-discriminator(generator(torch.randn(len(real), generator.latent_dim, device=real.device))).mean()).backward()
        step.step()
        yield


def vae(encoder: nn.Module, decoder: nn.Module, batches: Callable[[], Tensor]) -> Loop:
    """A VAE with a Bernoulli likelihood."""
    step = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    while True:
        x = (batches() + 1) / 2
        mean, log_scale = encoder(x)
        x_hat = torch.sigmoid(decoder(mean + log_scale.exp() * torch.randn_like(mean)))
        divergence = -0.5 * torch.sum(1 + 2 * log_scale - mean.pow(2) - (2 * log_scale).exp())
        loss = (F.binary_cross_entropy(x_hat, x, reduction="sum") + divergence) / len(x)
        step.zero_grad()
        loss.backward()
        step.step()
        yield


def vae_mnist(encoder: nn.Module, decoder: nn.Module, root: Path, batch_size: int) -> Loop:
    """PyTorch's VAE example: torchvision's data set, an image at a time, in a DataLoader."""
    data = torchvision.datasets.MNIST(root, transform=torchvision.transforms.ToTensor())
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)

    def batches() -> Iterator[Tensor]:
        while True:
            for images, _ in loader:
                yield 2 * images - 1

    source = batches()
    return vae(encoder, decoder, lambda: next(source))


def cyclegan(g_ab: nn.Module, g_ba: nn.Module, d_a: nn.Module, d_b: nn.Module, batches: Callable[[], Tensor]) -> Loop:
    """CycleGAN's loop: both generators with identity and cycle terms, then each discriminator."""
    step_g, step_d = adam(nn.ModuleList([g_ab, g_ba])), adam(nn.ModuleList([d_a, d_b]))

    def square(scores: Tensor, target: float) -> Tensor:
        return F.mse_loss(scores, torch.full_like(scores, target))

    while True:
        a, b = batches(), batches()
        fake_b, fake_a = g_ab(a), g_ba(b)
        loss = 5 * (F.l1_loss(g_ab(b), b) + F.l1_loss(g_ba(a), a)) + square(d_b(fake_b), 1) + square(d_a(fake_a), 1)
        loss = loss + 10 * (F.l1_loss(g_ba(fake_b), a) + F.l1_loss(g_ab(fake_a), b))
        step_g.zero_grad()
        loss.backward()
        step_g.step()
        step_d.zero_grad()
        for network, real, fake in ((d_a, a, fake_a), (d_b, b, fake_b)):
            (0.5 * (square(network(real), 1) + square(network(fake.detach()), 0))).backward()
        step_d.step()
        yield


class ConvEncoder(nn.Sequential):
    """Five stages of 32 to 512 channels, as the conv VAEs of public collections."""

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int):
        widths = (image_shape[0], 32, 64, 128, 256, 512)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU()]
        super().__init__(*layers, nn.Flatten(), nn.Linear(512 * (image_shape[1] // 32) ** 2, 2 * latent_dim))

    def forward(self, x: Tensor, labels: Any = None) -> tuple[Tensor, Tensor]:
        """Mean and log σ."""
        mean, log_scale = super().forward(x).float().chunk(2, dim=1)
        return mean, log_scale


class ConvDecoder(nn.Sequential):
    """The same stages upwards."""

    def __init__(self, output_shape: tuple[int, ...], latent_dim: int):
        side, widths = output_shape[1] // 32, (512, 256, 128, 64, 32)
        layers: list[nn.Module] = [nn.Linear(latent_dim, 512 * side**2), nn.Unflatten(1, (512, side, side))]
        for before, after in zip(widths, (*widths[1:], 32), strict=True):
            up = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1)
            layers += [up, nn.BatchNorm2d(after), nn.LeakyReLU()]
        super().__init__(*layers, nn.Conv2d(32, output_shape[0], 3, padding=1))

    def forward(self, z: Tensor, labels: Any = None) -> Tensor:
        """Logits."""
        return super().forward(z)
