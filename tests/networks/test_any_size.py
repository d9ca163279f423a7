"""The default networks of images of every size: convolutional, of the right shapes, and of bounded size."""

import itertools
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from datamodules import DataModule
from datamodules.datasets import InMemoryDataset
from lit_gen import GAN, VAE, WGANGP
from lit_gen.networks import (
    DCGANDecoder,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    TopDown,
    auto_decoder,
    auto_discriminator,
    auto_encoder,
    auto_generator,
)

LATENT = 100
SIDES = [*range(8, 65), 93, 100, 126, 127, 129, 132, 200, 255, 256, 300, 384, 500, 511, 512]
ASPECTS = [(48, 64), (17, 93), (93, 17), (8, 512), (512, 9), (33, 32), (28, 30), (240, 426), (255, 257)]
SIZES = [(side, side) for side in SIDES] + ASPECTS


def convolutional(network):
    return any(isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) for layer in network.modules())


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_size_has_a_convolutional_default(size):
    shape = (3, *size)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")
        networks = [auto_generator(shape, LATENT), auto_discriminator(shape)]
        networks += [auto_encoder(shape, LATENT), auto_decoder(shape, LATENT)]
        z, x = torch.randn(2, LATENT, requires_grad=True), torch.randn(2, *shape, requires_grad=True)
        generator, discriminator, encoder, decoder = networks
        generated, scores, (mean, log_scale), params = generator(z), discriminator(x), encoder(x), decoder(z)
        sum(y.sum() for y in (generated, scores, mean, log_scale, params)).backward()
    assert all(convolutional(network) for network in networks)
    assert generated.shape == params.shape == x.shape
    assert scores.shape == (2,)
    assert mean.shape == log_scale.shape == z.shape
    assert all(parameter.grad is not None for network in networks for parameter in network.parameters())
    # Of maps of at most 16 x 512 positions and channels in eight, and eight stages.
    assert max(count(network) for network in networks) < 35e6, [count(network) for network in networks]


@pytest.mark.parametrize("size", [(9, 9), (30, 45), (17, 93), (31, 64)], ids=str)
def test_every_pixel_is_seen_and_made(size):
    """Each input has a gradient, and each output depends on z: no row is left out at a border."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
    discriminator = DCGANDiscriminator((2, *size), width=4, norm="none", init="he").double()
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x)
    assert (gradient != 0).all()
    generator = DCGANGenerator((2, *size), 5, width=4, norm="none", init="he").double()
    images = generator(torch.randn(8, 5, dtype=torch.float64))
    assert (images.std(0) > 1e-6).all()


@pytest.mark.parametrize("side", [7, 8, 15, 30])
def test_growing_is_halving_transposed(side):
    """<halve(x), y> = <x, double(y)> for the same weights."""
    from lit_gen.networks.dcgan import _double, _halve

    size, half = (side, side + 1), (-(-side // 2), -(-(side + 1) // 2))
    halve, double = _halve(2, 3, size, bias=False).double(), _double(3, 2, size, bias=False).double()
    double.weight = halve.weight
    x, y = torch.randn(1, 2, *size, dtype=torch.float64), torch.randn(1, 3, *half, dtype=torch.float64)
    assert halve(x).shape == y.shape
    torch.testing.assert_close((halve(x) * y).sum(), (x * double(y)).sum())


def test_sizes_of_before_keep_their_networks():
    """Sides of up to 128 that divide by 4: halvings while they are even, all of padding 1."""
    for height, width in itertools.product(range(8, 129, 4), repeat=2):
        stages, sides = 0, [height, width]
        while stages < 2 or all(side % 2 == 0 and side > 4 for side in sides):
            sides, stages = [side // 2 for side in sides], stages + 1
        with torch.device("meta"):
            network = DCGANGenerator((3, height, width), 5, width=2)
        layers = [layer for layer in network.trunk if isinstance(layer, nn.ConvTranspose2d)]
        assert len(layers) == stages
        assert network.trunk[1].unflattened_size == (2 * min(2 ** (stages - 1), 8), *sides)
        assert all((layer.padding, layer.output_padding) == ((1, 1), (0, 0)) for layer in layers)


class Noise(DataModule):
    name, num_classes = "noise", 2

    def __init__(self, height=8, width=8, **kwargs):
        super().__init__(**kwargs)
        self.size = (height, width)

    @property
    def image_shape(self):
        return (1, *self.size)

    def read(self):
        pixels = torch.randint(0, 256, (8, *self.image_shape), dtype=torch.uint8)
        data = InMemoryDataset(pixels, torch.arange(8) % 2)
        return {"train": data, "val": data, "test": data}


@pytest.mark.parametrize("size", [(9, 9), (30, 17), (130, 150)], ids=str)
@pytest.mark.parametrize(
    ("model", "options"),
    [
        (GAN, {"conditional": True, "num_classes": 2}),
        (WGANGP, {}),
        (VAE, {"conditional": True, "num_classes": 2}),
    ],
    ids=["GAN", "WGANGP", "VAE"],
)
@pytest.mark.filterwarnings("ignore")
def test_one_step_of_training(model, options, size):
    small = {"width": 2, "norm": "none"}
    networks = {"encoder": DCGANEncoder, "decoder": DCGANDecoder}
    if model is not VAE:
        networks = {"generator": DCGANGenerator, "discriminator": DCGANDiscriminator}
    made = {name: partial(network, **small) for name, network in networks.items()}
    module = model((1, *size), latent_dim=3, **made, **options)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=1, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    before = [parameter.detach().clone() for parameter in module.parameters()]
    trainer.fit(module, datamodule=Noise(*size, batch_size=4))
    assert any(not torch.equal(p, q) for p, q in zip(before, module.parameters(), strict=True))
    assert all(parameter.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("size", [(9, 9), (30, 17), (131, 8)], ids=str)
def test_convolutional_hierarchies_take_every_size(size):
    shape = (3, *size)
    stack = TopDown(shape, shape, latent_dims=(2, 2, 2), widths=(4, 4, 4), convolutional=True)
    params, _ = stack(torch.randn(1, 2, stack.latent_dim), torch.randn(2, *shape))
    assert params.shape == (1, 2, *shape)
