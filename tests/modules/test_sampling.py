from functools import partial

import pytest
import torch

from lit_gen import GAN, VAE
from lit_gen.networks import DCGANGenerator, MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.training.standing import standing_statistics


def gan(**kwargs):
    return GAN(
        (1, 8, 8), latent_dim=4, generator=partial(DCGANGenerator, width=4),
        discriminator=partial(MLPDiscriminator, width=8), **kwargs,
    )  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [0, 1, 7, 600])
def test_shape_range_and_repeatability(n):
    module = gan()
    images = module.sample(n, generator=seeded())
    assert images.shape == (n, 1, 8, 8)
    assert not images.requires_grad
    assert n == 0 or (images.min() >= -1 and images.max() <= 1)
    assert torch.equal(images, module.sample(n, generator=seeded()))
    assert n == 0 or not torch.equal(images, module.sample(n, generator=seeded(1)))


def test_samples_come_from_the_average():
    module = gan(ema_half_life=100)
    before = module.sample(3, generator=seeded())
    with torch.no_grad():
        for p in module.generator.parameters():
            p.add_(1.0)
    assert torch.equal(before, module.sample(3, generator=seeded()))
    without = gan(ema_half_life=None)
    before = without.sample(3, generator=seeded())
    with torch.no_grad():
        for p in without.generator.parameters():
            p.add_(1.0)
    assert not torch.equal(before, without.sample(3, generator=seeded()))


@pytest.mark.parametrize("half_life", [None, 100])
def test_sampling_leaves_modes_and_batch_statistics_alone(half_life):
    module = gan(ema_half_life=half_life).train()
    module.discriminator.eval()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    one = module.sample(1, generator=seeded())
    assert torch.allclose(one, module.sample(2, generator=seeded())[:1], atol=1e-6) or half_life is None
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("half_life", [None, 100])
def test_standing_statistics_are_measured_once_for_the_same_weights(half_life, monkeypatch):
    calls = []

    def measured(network, latents):
        calls.append(latents)
        return standing_statistics(network, latents)

    monkeypatch.setattr("lit_gen.training.standing.standing_statistics", measured)
    module = gan(ema_half_life=half_life, standing_batches=3).train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    images = module.sample(600, generator=seeded())
    assert torch.equal(images, module.sample(600, generator=seeded()))
    assert [latents.shape for latents in calls] == [(3, 64, 4)]
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    # On running statistics, which have seen nothing, the first layer's outputs are far from standardised.
    plain = gan(ema_half_life=half_life)
    plain.load_state_dict(module.state_dict())
    assert not torch.allclose(images, plain.sample(600, generator=seeded()), atol=1e-3)
    with torch.no_grad():
        for network in (module.generator, module.network("generator")):
            next(network.parameters()).mul_(2.0)
    # Batch norm takes the seed's scale away again: only its statistics could hide that the weights have changed.
    torch.testing.assert_close(module.sample(600, generator=seeded()), images, atol=1e-2, rtol=0)
    assert len(calls) == 2


def test_networks_without_batch_norm_stand_as_they_are():
    module = GAN((2,), 4, MLPGenerator, MLPDiscriminator, standing_batches=2)
    plain = module.network("generator")
    assert module.standing(plain) is plain


def test_vae_samples_are_the_means_of_the_likelihood():
    module = VAE((1, 8, 8), 4, partial(MLPEncoder, width=8), partial(MLPDecoder, width=8))
    z = torch.randn(5, 4, generator=seeded())
    expected = 2 * torch.sigmoid(module.decoder(z)) - 1
    torch.testing.assert_close(module.sample(5, generator=seeded()), expected)


def test_bad_requests():
    with pytest.raises(ValueError, match="n=-1"):
        gan().sample(-1)
    with pytest.raises(ValueError, match="labels"):
        gan().sample(2, labels=torch.tensor([0, 1]))


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"minibatch": "stddev"}], ids=str)
def test_scores_are_of_any_number_of_images_and_of_bounded_memory(options, monkeypatch):
    module = GAN((1, 8, 8), 4, discriminator=partial(MLPDiscriminator, width=8, depth=2, **options))
    images, passes = torch.rand(10, 1, 8, 8), []
    whole = module.score(images.double())
    module.discriminator.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    monkeypatch.setattr("lit_gen.models.adversarial.SAMPLE_BATCH", 4)
    torch.testing.assert_close(module.score(images), whole)
    assert module.score(images[:0]).shape == (0,)
    passes.remove(0)
    assert passes == ([10] if "minibatch" in options else [4, 4, 2])


def test_scores_need_a_label_for_each_image_of_a_conditional_model_and_none_of_others():
    images, labels = torch.rand(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64)
    conditional = GAN((1, 8, 8), 4, num_classes=3, conditional=True)
    assert conditional.score(images, labels).shape == (6,)
    for given in (None, labels[:1]):
        with pytest.raises(ValueError, match=r"labels=.*: this GAN needs one for each of the 6 images"):
            conditional.score(images, given)
    with pytest.raises(ValueError, match="labels=6 of them: this GAN needs none"):
        GAN((1, 8, 8), 4).score(images, labels)
