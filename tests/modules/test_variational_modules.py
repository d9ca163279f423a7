"""VAE and IWAE as modules: samples of z, labels, alternating steps, priors, embeddings, what validation logs."""

import warnings
from dataclasses import dataclass
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from fake_device import second_device
from test_step_cost import passes
from torch.utils.flop_counter import FlopCounterMode

from datamodules import DigitsDataModule
from lit_gen import IWAE, VAE, HierarchicalVAE, losses
from lit_gen.distributions import Bernoulli, ExPostMixture, GaussianMixture, StandardNormal, VampPrior
from lit_gen.losses import ELBO, LinearWarmUp
from lit_gen.networks import Ladder, MLPDecoder, MLPEncoder
from lit_gen.pretrained.specification import parameters

SHAPE = (1, 8, 8)
DYNAMIC = partial(Bernoulli, binarization="dynamic")


def build(kind=VAE, seed=0, **kwargs):
    torch.manual_seed(seed)
    networks = {"encoder": partial(MLPEncoder, width=16, depth=1), "decoder": partial(MLPDecoder, width=16, depth=1)}
    return kind(SHAPE, **{"latent_dim": 3, **networks, **kwargs})


def trainer(steps=4):
    warnings.simplefilter("ignore")
    return L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, limit_val_batches=2, logger=False, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def fit(module, steps=4):
    of = trainer(steps)
    L.seed_everything(3, verbose=False)
    of.fit(module, datamodule=DigitsDataModule(batch_size=16))
    return of


def inputs(n=6, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *SHAPE, generator=generator), torch.randn(n, k, 3, generator=generator)


@pytest.mark.parametrize("conditional", [False, True])
def test_many_samples_are_many_evaluations_of_one(conditional):
    module = build(num_classes=10, conditional=conditional)
    x, noise = inputs()
    labels = (torch.tensor([3, 1, 4, 1, 5, 9]),) if conditional else ()
    together = module.terms(x, noise, *labels)
    assert together.log_weights.shape == (4, 6)
    for k in range(4):
        alone = module.terms(x, noise[:, k : k + 1], *labels)
        torch.testing.assert_close(together.log_weights[k : k + 1], alone.log_weights)
        torch.testing.assert_close(together.layers[0].z[k : k + 1], alone.layers[0].z)
    for i in range(6):
        alone = module.terms(x[i : i + 1], noise[i : i + 1], *(y[i : i + 1] for y in labels))
        torch.testing.assert_close(together.log_weights[:, i : i + 1], alone.log_weights)


def test_labels_go_to_the_encoder_and_to_the_decoder():
    module = build(num_classes=10, conditional=True)
    x, noise = inputs()
    threes, fours = (torch.full((6,), digit) for digit in (3, 4))
    assert not torch.equal(module.encode(x, threes), module.encode(x, fours))
    z = noise[:, 0]
    assert not torch.equal(module.decode(z, threes), module.decode(z, fours))
    drawn = [module.sample(5, labels, torch.Generator().manual_seed(0)) for labels in (3, torch.full((5,), 3), 4)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert module.sample(5).shape == (5, *SHAPE)
    for refused in (lambda: module.terms(x, noise), lambda: module.encode(x), lambda: build().encode(x, threes)):
        with pytest.raises(ValueError, match="labels"):
            refused()
    with pytest.raises(ValueError, match="conditional=True, num_classes=0"):
        build(conditional=True)


@pytest.mark.parametrize("ema_half_life", [None, 100.0])
def test_an_embedding_is_the_posterior_mean(ema_half_life):
    module = build(likelihood=DYNAMIC, ema_half_life=ema_half_life).train()
    images = 2 * inputs()[0] - 1
    state = torch.random.get_rng_state()
    embedding = module.encode(images)
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing is drawn
    assert torch.equal(embedding, module.encoder((images > 0).float())[0])
    assert not embedding.requires_grad
    assert module.training
    with torch.no_grad():
        module.encoder.layers[-1].bias += 1
    assert torch.equal(module.encode(images), embedding) == (ema_half_life is not None)


KINDS = {
    "vae": partial(build, likelihood=DYNAMIC),
    "conditional": partial(build, likelihood=DYNAMIC, num_classes=10, conditional=True),
    "ladder": lambda: HierarchicalVAE(SHAPE, partial(Ladder, latent_dims=(3, 2), widths=(16, 8)), DYNAMIC),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_labels_are_moved_and_embedded_in_parts(kind, monkeypatch):
    module, seen = KINDS[kind](), []
    images = 2 * torch.rand(1100, *SHAPE, generator=torch.Generator().manual_seed(0)) - 1
    labels = (torch.arange(1100) % 10,) if kind == "conditional" else ()
    mean = module.posterior_mean
    monkeypatch.setattr(module, "posterior_mean", lambda x, *y: seen.append(len(x)) or mean(x, *y))
    embeddings = module.encode(images, *labels)
    assert seen == [512, 512, 76]
    torch.testing.assert_close(embeddings[600:603], module.encode(images[600:603], *(y[600:603] for y in labels)))
    assert torch.equal(module.observe(images), (images > 0).float())
    few = images[:5].double(), *(y[:5] for y in labels)
    torch.testing.assert_close(module.encode(*few), embeddings[:5])
    assert module.double().encode(images[:5], *few[1:]).dtype == torch.float64
    module.float()
    with second_device() as device:
        there = module.to(device).encode(*few)
        assert there.device == device
        torch.testing.assert_close(there.cpu(), embeddings[:5])


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_do_not_suit_the_model_are_refused(kind):
    module, images = KINDS[kind](), torch.zeros(3, *SHAPE)
    given = [(), (torch.zeros(2, dtype=torch.int64),)] if kind == "conditional" else [(torch.zeros(3).long(),)]
    for labels in given:
        with pytest.raises(ValueError, match=r"labels of shapes \[.*\] for 3 images"):
            module.encode(images, *labels)


def test_a_checkpoint_holds_every_argument_also_those_that_were_not_given():
    shared = {
        "objective", "encoder_steps", "temperature", "optimizer", "scheduler", "clip_norm", "accumulate",
        "ema_half_life", "ema_ramp_up", "num_classes", "conditional", "bounded", "init_from", "likelihood",
    }  # fmt: skip
    own = {"encoder", "decoder", "prior", "latent_dim", "image_shape", "start_at_mean"}
    assert shared | own == parameters(VAE) == parameters(IWAE)
    assert shared | {"hierarchy", "image_shape"} == parameters(HierarchicalVAE)
    for module in (build(), build(IWAE), KINDS["ladder"]()):
        assert module.hparams.keys() - {"_class_path", "_instantiator"} == parameters(type(module))
        assert module.hparams["optimizer"] == {"class_path": "lit_gen.optimizers.VAEAdam"}
        assert module.hparams["likelihood"] is not None


@dataclass(frozen=True)
class Recorded(ELBO):
    """Notes the generative network's updates at each call."""

    def __call__(self, terms, update):
        CALLS.append((update, terms.layers[0].z.detach().clone()))
        return super().__call__(terms, update)


CALLS = []


@pytest.mark.parametrize(
    ("encoder_steps", "seen"), [(0, [0, 1, 2, 3]), (1, [0, 0, 1, 1, 2, 2, 3, 3]), (2, [0, 0, 0, 1, 1, 1])]
)
def test_alternating_steps(encoder_steps, seen):
    CALLS.clear()
    module = build(objective=Recorded(), encoder_steps=encoder_steps)
    of = fit(module)
    assert of.global_step == 4
    assert [update for update, _ in CALLS] == seen  # warm-up is counted in the decoder's
    expected = {"vae": 4} if encoder_steps == 0 else {"encoder": 4, "decoder": 4 // encoder_steps}
    assert module.updates == expected
    assert module.images_seen == 4 * 16


def test_each_player_moves_its_own_networks_on_fresh_noise():
    moved = {}

    class Watched(VAE):
        def update(self, name, objective, *batch):
            before = {key: value.clone() for key, value in self.state_dict().items()}
            moved.setdefault("noise", []).append(batch[1].clone())
            super().update(name, objective, *batch)
            changed = {
                key.partition(".")[0] for key, value in self.state_dict().items() if not torch.equal(value, before[key])
            }
            moved.setdefault(name, set()).update(changed)

    fit(build(Watched, encoder_steps=1, prior=partial(GaussianMixture, components=2)), steps=2)
    assert moved["encoder"] == {"encoder"}
    assert moved["decoder"] == {"decoder", "prior"}
    noises = moved["noise"]
    assert len(noises) == 4
    assert not any(torch.equal(a, b) for i, a in enumerate(noises) for b in noises[:i])


class Counted(VAE):
    """Counts the operations of every update."""

    def update(self, name, objective, *batch):
        with FlopCounterMode(display=False) as counter:
            super().update(name, objective, *batch)
        self.flops[name] = counter.get_total_flops()


@pytest.mark.parametrize(
    "objective", [ELBO(samples=3), losses.IWAE(samples=3), losses.IWAE(samples=3, gradient="dreg")]
)
@pytest.mark.parametrize("alternating", [False, True])
def test_steps_cost_the_least(objective, alternating):
    module = build(Counted, objective=objective, encoder_steps=int(alternating))
    module.flops, n = {}, 16
    fit(module, steps=1)
    forward, weights, inputs, _ = passes(module.encoder, [1, 1])
    decoder_forward, decoder_weights, decoder_inputs, first = passes(module.decoder, [1, 1])
    of_encoder, of_decoder = forward + weights + inputs, decoder_forward + decoder_inputs
    if alternating:
        # No gradient to the other player's weights; none to z, and so none to the decoder's first input, in its own.
        assert module.flops["encoder"] == n * of_encoder + 3 * n * (of_decoder + first)
        assert module.flops["decoder"] == n * forward + 3 * n * (of_decoder + decoder_weights)
    else:
        assert module.flops["vae"] == n * of_encoder + 3 * n * (of_decoder + decoder_weights + first)


def test_the_warm_up_must_end_within_the_training():
    module = build(objective=ELBO(warm_up=LinearWarmUp(3)), encoder_steps=2)
    with pytest.raises(ValueError, match=r"warm_up=LinearWarmUp\(updates=3\).* makes 2"):
        fit(module, steps=4)  # two decoder updates
    assert module.updates == {"encoder": 0, "decoder": 0}
    module = build(objective=ELBO(warm_up=LinearWarmUp(4)))
    fit(module, steps=4)
    assert module.loss(*inputs())[1]["kl_weight"] == 1.0


def test_a_resumed_run_finds_its_place_in_the_warm_up():
    module = build(objective=ELBO(warm_up=LinearWarmUp(8)))
    module.updates["vae"] = 6
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    resumed = build(objective=ELBO(warm_up=LinearWarmUp(8)))
    assert resumed.loss(*inputs())[1]["kl_weight"] == 0.0
    resumed.on_load_checkpoint(checkpoint)
    assert resumed.loss(*inputs())[1]["kl_weight"] == 0.75


def validated(**kwargs):
    module = build(**kwargs)
    L.seed_everything(3, verbose=False)
    (values,) = trainer().validate(module, DigitsDataModule(batch_size=64), verbose=False)
    return {key.removeprefix("val/"): value for key, value in values.items()}


def test_validation_logs_the_bound_whatever_the_training_minimises():
    plain = validated(likelihood=DYNAMIC)
    assert plain["nelbo_nats"] == pytest.approx(plain["reconstruction_nats"] + plain["kl_nats"])
    assert plain["bpd"] == pytest.approx(plain["nelbo_nats"] / 64 / 0.6931472)
    for objective in (ELBO(beta=7.0), ELBO(free_bits=50.0), ELBO(warm_up=LinearWarmUp(100))):
        assert validated(likelihood=DYNAMIC, objective=objective) == plain
    assert "bpd" not in validated()  # grey values have no probability


def test_validation_of_an_iwae_logs_its_bound_and_the_elbo():
    values = validated(kind=IWAE, objective=losses.IWAE(samples=20))
    assert values["niwae20_nats"] < values["nelbo_nats"]
    assert values["nelbo_nats"] == pytest.approx(values["reconstruction_nats"] + values["kl_nats"])


def test_dreg_reaches_the_encoder_alone():
    found = []
    for gradient in ("standard", "dreg"):
        module = build(IWAE, objective=losses.IWAE(samples=4, gradient=gradient)).double()
        x, noise = (value.double() for value in inputs())
        module.loss(x, noise)[0].backward()
        found.append([p.grad for p in (*module.decoder.parameters(), *module.encoder.parameters())])
    standard, dreg = found
    torch.testing.assert_close(standard[:4], dreg[:4])
    assert not any(torch.allclose(a, b) for a, b in zip(standard[4:], dreg[4:], strict=True))


def test_terms_are_float32_under_bfloat16():
    module = build(prior=partial(GaussianMixture, components=2))
    x, noise = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        terms = module.terms(x, noise)
        loss, _ = losses.IWAE(samples=4)(terms, 0)
        assert {loss.dtype, terms.log_weights.dtype, terms.layers[0].kl.dtype, terms.layers[0].z.dtype} == {
            torch.float32
        }
    exact = losses.IWAE(samples=4)(module.terms(x, noise), 0)[0]
    torch.testing.assert_close(loss, exact, rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("prior", [StandardNormal, GaussianMixture, partial(VampPrior, pseudo_inputs=5), ExPostMixture])
def test_priors_in_training_sampling_and_checkpoints(prior, tmp_path):
    module = build(prior=prior, ema_half_life=100.0)
    before = {name: p.clone() for name, p in module.prior.named_parameters()}
    of = fit(module)
    assert all(not torch.equal(p, before[name]) for name, p in module.prior.named_parameters())
    assert not any("prior" in key and "layers" in key for key in module.state_dict())  # the encoder is held once
    samples = module.sample(9, generator=torch.Generator().manual_seed(0))
    of.save_checkpoint(tmp_path / "vae.ckpt")
    loaded = VAE.load_from_checkpoint(tmp_path / "vae.ckpt", weights_only=True)
    assert torch.equal(loaded.sample(9, generator=torch.Generator().manual_seed(0)), samples)
    if prior is ExPostMixture:
        assert module.prior.seen == 4 * 16
        fresh = build(prior=prior)
        fresh.decoder, fresh.averages = module.decoder, module.averages
        assert not torch.equal(fresh.sample(9, generator=torch.Generator().manual_seed(0)), samples)


def test_temperature_scales_the_latents():
    cool, plain = build(temperature=0.5), build()
    noise = inputs()[1][:, 0]
    assert torch.equal(cool.from_noise(noise), plain.from_noise(0.5 * noise))


def test_an_iwae_is_built_again_from_its_checkpoint(tmp_path):
    objective = losses.IWAE(samples=3, gradient="dreg")
    of = fit(build(IWAE, objective=objective, encoder_steps=1, temperature=0.9), steps=1)
    of.save_checkpoint(tmp_path / "iwae.ckpt")
    loaded = IWAE.load_from_checkpoint(tmp_path / "iwae.ckpt", weights_only=True)
    assert (loaded.objective, loaded.encoder_steps, loaded.temperature) == (objective, 1, 0.9)
    assert build(IWAE).objective == losses.IWAE(samples=5)
    assert build(VAE).objective == ELBO()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"encoder_steps": -1}, "encoder_steps=-1"),
        ({"prior": VampPrior, "num_classes": 10, "conditional": True}, "prior=VampPrior"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)
