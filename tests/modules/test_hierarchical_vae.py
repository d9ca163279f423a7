import logging
from functools import partial

import lightning.pytorch as L
import pytest
import torch

from datamodules import DigitsDataModule
from lit_gen import VAE, HierarchicalVAE
from lit_gen.distributions import Bernoulli, Gaussian, SharedSigmaGaussian
from lit_gen.losses import ELBO, IWAE, LinearWarmUp
from lit_gen.networks import BottomUp, Decoder, Encoder, Ladder, TopDown

SHAPE = (1, 8, 8)
STACKS = [BottomUp, Ladder, TopDown]
DENSE = {"latent_dims": (4, 3, 2), "widths": (7, 6, 5)}
MAPS = {**DENSE, "convolutional": True}


def build(cls=Ladder, shape=SHAPE, likelihood=Bernoulli, seed=0, options=DENSE, **kwargs):
    torch.manual_seed(seed)
    module = HierarchicalVAE(shape, partial(cls, **options), likelihood, **kwargs).double()
    for parameter in module.hierarchy.parameters():
        if not parameter.any():  # a top-down posterior begins at the prior: here it shall not
            torch.nn.init.normal_(parameter, std=0.3)
    return module


def draw(module, samples=1, images=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images, samples, module.noise_dim, generator=generator, dtype=torch.float64)
    return torch.rand(images, *module.image_shape, generator=generator, dtype=torch.float64), noise


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# The bound


@pytest.mark.parametrize("cls", STACKS)
def test_the_divergences_are_the_log_ratios_expectation(cls):
    """Both estimates of the bound agree: with KL where it is in closed form, and with log q − log p everywhere.

    For a chain inferred bottom-up, KL(q(z_1 | x) ‖ p(z_1 | z_2)) at a z_2 drawn from z_1 would be another number.
    """
    module = build(cls, seed=2)
    with torch.no_grad():  # posteriors that depend strongly on what they are given
        for name, parameter in module.hierarchy.named_parameters():
            if name.startswith(("recognition", "layers")):
                parameter.mul_(2)
    x, noise = draw(module, samples=20_000, images=2)
    with torch.no_grad():
        terms = module.terms(x, noise)
        for layer in terms.layers:
            difference = (layer.log_posterior - layer.log_prior - layer.kl).mean(1)
            assert difference.mean().abs() <= 4 * difference.std() / 20_000**0.5
        bound = module.objective.bound(terms)
        error = terms.log_weights.std() / 40_000**0.5
        assert abs(bound["nelbo_nats"] + terms.log_weights.mean()) < 6 * error
        assert bound["kl_nats"] > 0.1
        assert bound["kl_nats"] == sum(bound[f"kl_nats_{t}"] for t in (1, 2, 3))


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_terms_belong_to_one_image(cls, options):
    module = build(cls, options=options)
    x, noise = draw(module, samples=3)
    order = torch.tensor([2, 0, 3, 1])
    terms, others = module.terms(x, noise), module.terms(x[order], noise[order])
    torch.testing.assert_close(others.log_weights, terms.log_weights[:, order])
    alone = module.terms(x[1:2], noise[1:2])
    torch.testing.assert_close(alone.log_weights[:, 0], terms.log_weights[:, 1])


class Recognition(Encoder):
    def __init__(self, image_shape, latent_dim, hierarchy):
        super().__init__(image_shape, latent_dim)
        self.hierarchy = hierarchy

    def forward(self, x):
        _, (latent,) = self.hierarchy(x.new_zeros(1, len(x), self.latent_dim), x)
        return tuple(parameter[0].flatten(1) for parameter in latent.posterior)


class Generation(Decoder):
    def __init__(self, output_shape, latent_dim, hierarchy):
        super().__init__(output_shape, latent_dim)
        self.hierarchy = hierarchy

    def forward(self, z):
        return self.hierarchy(z[None])[0][0]


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("cls", STACKS)
@pytest.mark.parametrize("objective", [ELBO(beta=0.5, samples=2), IWAE(samples=3)])
def test_one_layer_is_the_vae(cls, objective, convolutional):
    options = {"latent_dims": (3,), "widths": (6,), "convolutional": convolutional}
    module = build(cls, options=options, objective=objective)
    hierarchy = module.hierarchy
    vae = VAE(SHAPE, module.latent_dim, likelihood=Bernoulli, objective=objective).double()
    vae.encoder = Recognition(SHAPE, module.latent_dim, hierarchy)
    vae.decoder = Generation(SHAPE, module.latent_dim, hierarchy)
    x, noise = draw(module, objective.samples)
    loss, values = module.loss(x, noise)
    expected, others = vae.loss(x, noise)
    torch.testing.assert_close(loss, expected)
    assert values.keys() == others.keys()
    z = noise[:, 0]
    torch.testing.assert_close(module.decode(z), vae.decode(z))
    torch.testing.assert_close(module.from_noise(z), vae.from_noise(z))
    torch.testing.assert_close(module.encode(x), vae.encode(x))


# Samples


@pytest.mark.parametrize("options", [DENSE, MAPS])
@pytest.mark.parametrize("cls", STACKS)
def test_samples_repeat_and_pass_through_all_layers(cls, options):
    module = build(cls, options=options)
    images = module.sample(600, generator=seeded())
    assert images.shape == (600, *SHAPE)
    assert torch.equal(images, module.sample(600, generator=seeded()))
    noise = torch.randn(600, module.noise_dim, generator=seeded()).double()
    torch.testing.assert_close(images, module.likelihood.mean(module.hierarchy(noise[None])[0][0]))
    for part in noise.split(module.hierarchy.sizes, dim=1):
        changed = noise.clone()
        changed[:, : part.shape[1]] += 1.0
        assert not torch.allclose(module.from_noise(changed), module.from_noise(noise))


@pytest.mark.parametrize("cls", STACKS)
def test_z_is_the_top_layer_and_those_below_stand_at_their_means(cls):
    module = build(cls)
    z = torch.randn(5, 2, generator=seeded()).double()
    _, latents = module.hierarchy(torch.cat([z.new_zeros(5, 7), z], 1)[None])
    torch.testing.assert_close(latents[-1].z[0], z)
    for latent in latents[:-1]:
        torch.testing.assert_close(latent.z, latent.prior[0])
    params, _ = module.hierarchy(z.new_zeros(1, 5, 9), None, [latent.z for latent in latents])
    torch.testing.assert_close(module.decode(z), module.likelihood.mean(params[0]))
    assert module.encode(torch.rand(5, *SHAPE).double()).shape == z.shape


def test_temperature_scales_every_layer():
    hot, cold = build(), build(temperature=0.5)
    noise = torch.randn(5, hot.noise_dim).double()
    torch.testing.assert_close(cold.from_noise(noise), hot.from_noise(0.5 * noise))
    torch.testing.assert_close(cold.from_noise(torch.zeros_like(noise)), hot.decode(torch.zeros(5, 2).double()))


def test_averages_serve_samples_and_validation():
    module = build(ema_half_life=100.0)
    before, noise = module.sample(3, generator=seeded()), torch.randn(3, 9).double()
    x, epsilon = draw(module)
    bound = module.eval().terms(x, epsilon).log_weights
    with torch.no_grad():
        for parameter in module.hierarchy.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(module.sample(3, generator=seeded()), before)
    torch.testing.assert_close(module.terms(x, epsilon).log_weights, bound)
    assert not torch.allclose(module.train().terms(x, epsilon).log_weights, bound)
    torch.testing.assert_close(module.from_noise(noise), module.eval().from_noise(noise))


def test_the_likelihood_that_validates_averaged_networks_is_averaged_too():
    module = build(likelihood=SharedSigmaGaussian, ema_half_life=100.0).eval()
    x, noise = draw(module)
    bound, image = module.terms(x, noise).log_weights, module.from_noise(noise[:, 0])
    with torch.no_grad():
        module.likelihood.raw_log_sigma -= 3
    torch.testing.assert_close(module.terms(x, noise).log_weights, bound)
    torch.testing.assert_close(module.from_noise(noise[:, 0]), image)
    assert module.train().terms(x, noise).log_weights.mean() < bound.mean() - 1000


def test_arguments_that_all_share_arrive():
    module = build(ema_half_life=100.0, ema_ramp_up=0.05, num_classes=10, accumulate=2)
    assert module.averages["hierarchy"].ramp_up == 0.05
    assert (module.hparams["num_classes"], module.hparams["conditional"], module.hparams["encoder_steps"]) == (
        10,
        False,
        0,
    )
    assert "latent_dim" not in module.hparams
    for arguments, message in [
        ({"encoder_steps": 1}, "encoder_steps=1: 0, as p and q"),
        ({"conditional": True, "num_classes": 10}, "conditional=True: False, as"),
        ({"temperature": 0.0}, "temperature=0.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            build(**arguments)


@pytest.mark.parametrize("inferred", [False, True])
@pytest.mark.parametrize("cls", STACKS)
def test_layers_above_a_level_stay(cls, inferred):
    module = build(cls)
    given = 2 * torch.rand(4, *SHAPE, dtype=torch.float64) - 1 if inferred else None
    same = module.vary(0, 4, 3, given, seeded())
    assert same.shape == (4, 3, *SHAPE)
    torch.testing.assert_close(same, same[:, :1].expand_as(same))
    spread = [module.vary(level, 4, 50, given, seeded()).std(1).mean().item() for level in range(4)]
    assert 0 <= spread[0] < 1e-9 < min(spread[1:])
    top = module.vary(2, 1, 2, generator=seeded())
    first, again = (torch.randn(k, 1, 9, generator=g).double() for g in [seeded()] for k in (1, 2))
    expected = again.clone()
    expected[..., 7:] = first[..., 7:]  # z_3 alone stays
    torch.testing.assert_close(top[0], module.from_noise(expected[:, 0]))
    for arguments, message in [
        ((4, 1, 1), "level=4: from 0 to 3"),
        ((1, 2, 1, torch.rand(3, *SHAPE)), "n=2: 3 images"),
    ]:
        with pytest.raises(ValueError, match=message):
            module.vary(*arguments)


# Training


def fit(module, steps=2):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, val_check_interval=2, limit_val_batches=1, num_sanity_val_steps=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=16))
    return trainer


OBJECTIVES = {
    "elbo": ELBO(),
    "warm-up": ELBO(warm_up=LinearWarmUp(2), free_bits=0.01),
    "iwae": IWAE(samples=3),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("options", [DENSE, MAPS], ids=["dense", "maps"])
@pytest.mark.parametrize("cls", STACKS)
def test_two_steps_change_every_weight(cls, options, objective):
    module = build(cls, options={**options, "norm": "batch"}, objective=OBJECTIVES[objective]).float()
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    fit(module)
    for name, parameter in module.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_validation_logs_every_layers_divergence():
    trainer = fit(build().float())
    metrics = trainer.callback_metrics
    parts = [metrics[f"val/kl_nats_{t}"] for t in (1, 2, 3)]
    torch.testing.assert_close(sum(parts), metrics["val/kl_nats"])
    torch.testing.assert_close(metrics["val/reconstruction_nats"] + metrics["val/kl_nats"], metrics["val/nelbo_nats"])


def test_other_likelihoods_and_points_train():
    module = build(likelihood=Gaussian, options=MAPS).float()
    assert module.hierarchy.output_shape == (2, 8, 8)
    fit(module)
    points = build(TopDown, shape=(2,), likelihood=Gaussian)
    assert points.sample(3).shape == (3, 2)
    assert points.terms(*draw(points)).log_weights.shape == (1, 4)


def test_a_checkpoint_loads_by_itself(tmp_path):
    module = build(BottomUp, likelihood=partial(Bernoulli, binarization="threshold"), objective=IWAE(3)).float()
    fit(module).save_checkpoint(tmp_path / "run.ckpt")
    loaded = HierarchicalVAE.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert isinstance(loaded.hierarchy, BottomUp)
    assert loaded.objective == IWAE(3)
    assert torch.equal(loaded.sample(3, generator=seeded()), module.sample(3, generator=seeded()))


def test_path_gradients_through_several_layers_are_refused():
    with pytest.raises(ValueError, match="gradient='dreg': for 1 stochastic layer, not 3"):
        fit(build(objective=IWAE(3, gradient="dreg")).float())
    module = build()
    with pytest.raises(ValueError, match="detach_posterior=True: for 1 stochastic layer, not 3"):
        module.terms(*draw(module), detach_posterior=True)


# Two linear layers, z_2 ~ N(0, 1), z_1 = a z_2 + s ε, x = w z_1 + r ε: the bound with the true posterior is log p(x)
# for every sample (tests/networks/test_hierarchies.py); trained, a ladder finds it.


def test_a_linear_ladder_learns_the_evidence():
    torch.manual_seed(0)
    a, s, w, r = 1.3, 0.6, 0.8, 0.5
    z = a * torch.randn(1000, 1) + s * torch.randn(1000, 1)
    x = (w * z + r * torch.randn(1000, 1)).double()
    module = build(
        shape=(1,), likelihood=partial(Gaussian, sigma=r), options={"latent_dims": (1, 1), "widths": (16, 16)}
    )
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(300):
        loss, _ = module.loss(x, torch.randn(1000, 1, 2, dtype=torch.float64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    evidence = torch.distributions.Normal(0.0, (w**2 * (a**2 + s**2) + r**2) ** 0.5).log_prob(x).mean()
    with torch.no_grad():
        noise = torch.randn(1000, 20, 2, dtype=torch.float64)
        bound = -module.objective.bound(module.terms(x, noise))["nelbo_nats"]
    assert evidence - 0.02 < bound < evidence + 0.01
