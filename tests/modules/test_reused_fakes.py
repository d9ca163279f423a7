"""`reuse_fakes`: the generator's step improves the images that the discriminator has just seen."""

import copy
from functools import partial

import pytest
import torch
from test_faults import Plant, data
from test_update import fit
from torch import nn
from torch.nn import functional as F

from lit_gen import GAN, WGANGP
from lit_gen.callbacks import FaultPolicy
from lit_gen.losses import RelativisticPairing
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator

SMALL = {
    "generator": partial(MLPGenerator, width=16, depth=1, norm="none"),
    "discriminator": partial(MLPDiscriminator, width=16, depth=1),
}
CONVOLUTIONAL = {
    "generator": partial(DCGANGenerator, width=4),
    "discriminator": partial(DCGANDiscriminator, width=4),
}


class Recorded(GAN):
    """Keeps the generator's outputs, and what each update's loss judges."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made, self.judged_images = [], []
        self.generator.register_forward_hook(lambda network, inputs, images: self.made.append(images.detach().clone()))

    def discriminator_game(self, judge, real, fake):
        self.judged_images.append(("discriminator", fake.detach().clone()))
        return super().discriminator_game(judge, real, fake)

    def generator_game(self, judge, real, fake):
        self.judged_images.append(("generator", fake.detach().clone()))
        return super().generator_game(judge, real, fake)


def test_one_step_is_the_loop_of_pytorchs_example():
    torch.manual_seed(0)
    module = GAN((1, 8, 8), 5, **CONVOLUTIONAL, reuse_fakes=True, ema_half_life=None)
    generator, discriminator = copy.deepcopy(module.generator).double(), copy.deepcopy(module.discriminator).double()
    seen = {}

    class Watching(GAN):
        def discriminator_loss(self, draw):
            seen.update(real=draw.real.clone(), z=draw.z.clone())
            return super().discriminator_loss(draw)

    module.__class__ = Watching
    fit(module, steps=1, batch_size=16, precision="64-true")
    steps = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    fake = generator(seen["z"])
    (F.softplus(-discriminator(seen["real"])).mean() + F.softplus(discriminator(fake.detach())).mean()).backward()
    steps[1].step()
    generator.zero_grad()
    F.softplus(-discriminator(fake)).mean().backward()
    steps[0].step()
    for ours, theirs in ((module.generator, generator), (module.discriminator, discriminator)):
        for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            if "running" not in name:  # the discriminator's takes frozen passes apart
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("reuse", [False, True])
def test_a_round_saves_one_pass_of_the_generator(reuse):
    module = Recorded((1, 8, 8), 5, **SMALL, n_critic=3, n_generator=2, reuse_fakes=reuse)
    fit(module, steps=6, batch_size=16)
    assert len(module.made) == 2 * (3 + 2 - reuse)
    assert [name for name, _ in module.judged_images] == 2 * (3 * ["discriminator"] + 2 * ["generator"])
    for start in (0, 5):
        (_, last), (_, first), (_, second) = module.judged_images[start + 2 : start + 5]
        assert torch.equal(last, first) == reuse
        assert not torch.equal(last, second)


@pytest.mark.parametrize(
    "arguments", [{"loss": RelativisticPairing()}, {"instance_noise": 0.1}, {"pack": 2}, {"n_critic": 2}], ids=str
)
def test_it_goes_with_the_other_options(arguments):
    module = GAN((1, 8, 8), 5, **SMALL, reuse_fakes=True, **arguments)
    before = copy.deepcopy(module.generator.state_dict())
    fit(module, steps=4, batch_size=16)
    assert any(not torch.equal(value, before[name]) for name, value in module.generator.state_dict().items())
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_a_penalty_takes_the_same_images():
    torch.manual_seed(0)
    module = WGANGP((1, 8, 8), 5, **SMALL, n_critic=2, reuse_fakes=True)
    fit(module, steps=4, batch_size=16)
    assert module.updates == {"discriminator": 4, "generator": 2}


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_parts_of_a_batch_are_refused(player):
    with pytest.raises(ValueError, match=f"reuse_fakes=True.*{player}_accumulate=2"):
        GAN((1, 8, 8), 5, **SMALL, reuse_fakes=True, **{f"{player}_accumulate": 2})


def test_batch_norm_sees_the_generators_batch_once():
    module = GAN((1, 8, 8), 5, **CONVOLUTIONAL, reuse_fakes=True)
    fit(module, steps=3, batch_size=16)
    counts = {
        int(layer.num_batches_tracked) for layer in module.generator.modules() if isinstance(layer, nn.BatchNorm2d)
    }
    assert counts == {3}


def test_images_of_an_update_left_out_leave_no_trace():
    module = GAN((1, 8, 8), 5, **CONVOLUTIONAL, reuse_fakes=True)
    fit(module, steps=4, batch_size=16, callbacks=[Plant(data, 2), FaultPolicy("skip")])
    assert module.updates == {"discriminator": 3, "generator": 4}
    # Those of step 2 are made anew for the generator, and counted once.
    norms = [layer for layer in module.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {4}
    assert all(value.isfinite().all() for value in module.state_dict().values())
