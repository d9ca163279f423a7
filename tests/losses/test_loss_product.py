"""Every loss with every penalty on every network: finite gradients to every parameter, for any shape it claims."""

import pytest
import torch
from objectives import LOSSES, PENALTIES

from lit_gen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
)

IMAGES = [(channels, side, side) for channels in (1, 3, 5) for side in (8, 28, 32)]
NETWORKS = [
    *[(MLPGenerator, MLPDiscriminator, shape) for shape in [(1,), (2,), (7,), (1, 5, 9), *IMAGES]],
    *[(DCGANGenerator, DCGANDiscriminator, shape) for shape in [*IMAGES, (2, 8, 12)]],
    *[(ResNetGenerator, ResNetDiscriminator, shape) for shape in IMAGES if shape[1] == 32],
]


@pytest.mark.parametrize(
    ("generator", "discriminator", "shape"),
    NETWORKS,
    ids=[f"{generator.__name__}-{shape}" for generator, _, shape in NETWORKS],
)
def test_every_loss_and_penalty_reaches_every_parameter(generator, discriminator, shape):
    torch.manual_seed(0)
    generator = generator(shape, 3, width=4, norm="batch")
    discriminator = discriminator(shape, width=4, norm="layer")
    real, z = torch.rand(3, *shape) * 2 - 1, torch.randn(3, 3)
    for loss in LOSSES:
        for penalty in PENALTIES:
            discriminator.zero_grad(set_to_none=True)
            with torch.no_grad():
                fake = generator(z)
            value = loss.discriminator(discriminator(real), discriminator(fake))
            if penalty is not None:
                penalty.check(discriminator)
                epsilon = torch.rand(3, *penalty.epsilon_shape(shape))
                value = value + penalty(discriminator, real, fake, epsilon)
            value.backward()
            assert value.isfinite(), (loss, penalty)
            for name, parameter in discriminator.named_parameters():
                assert parameter.grad.isfinite().all(), (loss, penalty, name)
        generator.zero_grad(set_to_none=True)
        loss.generator(discriminator(generator(z)), discriminator(real)).backward()
        for name, parameter in generator.named_parameters():
            assert parameter.grad.isfinite().all(), (loss, name)
        assert any(parameter.grad.abs().max() > 0 for parameter in generator.parameters())
