"""The training steps that `scripts/benchmark steps` times: how ours and the peer's are made, and on what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

import peers
from datamodules import MixtureDataModule, MNISTDataModule
from datamodules.base import DataModule
from datamodules.datasets import InMemoryDataset
from datamodules.domains import Domains
from datamodules.two_domains import TwoDomains
from lit_gen import GAN, VAE, WGANGP, CycleGAN
from lit_gen.distributions import Bernoulli
from lit_gen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    ResNetTranslator,
)


def noise(side: int, n: int = 512) -> torch.Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Noise(DataModule):
    """Random pixels: the step's time doesn't depend on what they show."""

    name, num_classes = "noise", 0

    def __init__(self, side: int = 32, batch_size: int = 64):
        super().__init__(batch_size=batch_size)
        self.side = side

    @property
    def image_shape(self) -> tuple[int, ...]:
        return 3, self.side, self.side

    def read(self) -> Any:
        return {split: InMemoryDataset(noise(self.side)) for split in ("train", "val", "test")}


class TwoNoises(TwoDomains):
    """Two domains of random pixels."""

    name, image_shape, num_classes = "noises", (3, 64, 64), 0

    def read_domains(self) -> Any:
        return dict.fromkeys(("train", "val", "test"), Domains(*[InMemoryDataset(noise(64))] * 2))


@dataclass
class Row:
    """A step: how ours and the peer's are made, and how many steps a stretch has."""

    module: Callable[[], Any]
    data: Callable[[Path], Any]
    peer: Callable[[Any, Any, Path], peers.Loop]  # of the module's networks, a source of batches, the data's folder
    batch: int
    steps: int = 2
    warm_up: int = 1
    precision: str = "bf16-mixed"
    player: str | None = None  # whose updates alone count
    peers_module: Callable[[], Any] | None = None  # holds the peer's networks; else one like ours
    speed: dict[str, Any] = field(default_factory=dict)  # options of the callback that aren't its defaults


def images(side: int, batch: int, device: str) -> Callable[[], torch.Tensor]:
    real = noise(side, batch).to(device) / 127.5 - 1
    return lambda: real


def gan_row(shape: int, **kwargs: Any) -> Row:
    networks = {"generator": DCGANGenerator, "discriminator": partial(DCGANDiscriminator, norm="batch")}
    return Row(
        partial(GAN, (3, shape, shape), reuse_fakes=True, **networks),  # as its peer
        lambda folder: Noise(shape),
        lambda module, device, folder: peers.gan(module.generator, module.discriminator, images(shape, 64, device)),
        **{"batch": 64, **kwargs},
    )


def wgan_row(peer: Callable[..., peers.Loop], n_critic: int, player: str | None) -> Row:
    networks = {"generator": ResNetGenerator, "discriminator": ResNetDiscriminator}
    plain = {player: partial(network, folded=False) for player, network in networks.items()}
    return Row(
        partial(WGANGP, (3, 32, 32), n_critic=n_critic, **networks),
        lambda folder: Noise(32),
        lambda module, device, folder: peer(module.generator, module.discriminator, images(32, 64, device)),
        batch=64,
        player=player,
        peers_module=partial(WGANGP, (3, 32, 32), **plain),
    )


def points(device: str) -> Callable[[], torch.Tensor]:
    data = MixtureDataModule().dataset("train").images.to(device)  # type: ignore[attr-defined]
    return lambda: data[torch.randint(len(data), (256,))]


MLP_GAN = {"generator": partial(MLPGenerator, width=128), "discriminator": partial(MLPDiscriminator, width=128)}
MLP_VAE = {"encoder": partial(MLPEncoder, width=400, depth=1), "decoder": partial(MLPDecoder, width=400, depth=1)}
CONV_VAE = {"encoder": peers.ConvEncoder, "decoder": peers.ConvDecoder}
TRANSLATOR = partial(ResNetTranslator, blocks=9, downsamplings=2)

ROWS = {
    "dcgan_64": gan_row(64),
    "dcgan_32": gan_row(32, steps=4),
    "wgan_gp_critic": wgan_row(peers.critic, 10**9, None),
    "wgan_gp_generator": wgan_row(peers.wgan_generator, 1, "generator"),
    "conv_vae_64": Row(
        partial(VAE, (3, 64, 64), 128, likelihood=Bernoulli, **CONV_VAE),
        lambda folder: Noise(64),
        lambda module, device, folder: peers.vae(module.encoder, module.decoder, images(64, 64, device)),
        batch=64,
        steps=4,
    ),
    "cyclegan_64": Row(
        partial(CycleGAN, (3, 64, 64), TRANSLATOR),
        lambda folder: TwoNoises(batch_size=1),
        lambda module, device, folder: peers.cyclegan(
            *(module.generator_ab, module.generator_ba, module.discriminator_a, module.discriminator_b),
            images(64, 1, device),
        ),
        batch=1,
        steps=4,
    ),
    "mlp_vae_mnist": Row(
        partial(VAE, (1, 28, 28), 20, likelihood=Bernoulli, **MLP_VAE),
        lambda folder: MNISTDataModule(str(folder), download=False, batch_size=128),
        lambda module, device, folder: peers.vae_mnist(module.encoder, module.decoder, folder, 128),
        batch=128,
        steps=300,
        warm_up=30,
    ),
    "mlp_gan_2d": Row(
        partial(GAN, (2,), 2, reuse_fakes=True, **MLP_GAN),
        lambda folder: MixtureDataModule(batch_size=256),
        lambda module, device, folder: peers.gan(module.generator, module.discriminator, points(device)),
        batch=256,
        steps=300,
        warm_up=30,
        precision="32-true",
    ),
}
