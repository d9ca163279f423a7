"""The update step: who moves, by how much, what is counted."""

import copy
import warnings
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from lit_gen.modules.unrolled import UnrolledSGD
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR, ReduceLROnPlateau

from datamodules import DigitsDataModule
from lit_gen import GAN, VAE, WGAN, WGANGP
from lit_gen.cli.app import main
from lit_gen.losses import R1, Hinge, RelativisticAverage, RelativisticPairing, Wasserstein
from lit_gen.modules import GenerativeModule, Player
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.training.draw import in_parts

SHAPE = (1, 8, 8)
SMALL = {
    "latent_dim": 4,
    "generator": partial(MLPGenerator, width=16, depth=1),
    "discriminator": partial(MLPDiscriminator, width=16, depth=1),
}
SMALL_VAE = {
    "latent_dim": 4,
    "encoder": partial(MLPEncoder, width=16, depth=1),
    "decoder": partial(MLPDecoder, width=16, depth=1),
}


def fit(module, steps=4, batch_size=32, **kwargs):
    warnings.simplefilter("ignore")
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **kwargs,
    )  # fmt: skip
    L.seed_everything(3, verbose=False)
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=batch_size))
    return trainer


def build(kind, seed=0, **kwargs):
    torch.manual_seed(seed)
    return VAE(SHAPE, **{**SMALL_VAE, **kwargs}) if kind is VAE else kind(SHAPE, **{**SMALL, **kwargs})


@pytest.mark.parametrize("n_critic", [1, 2, 3])
def test_steps_are_batches_and_each_player_has_its_count(n_critic):
    module = build(GAN, n_critic=n_critic, n_generator=2)
    trainer = fit(module, steps=7)
    assert trainer.global_step == 7
    assert module.updates == {"discriminator": 7, "generator": 2 * (7 // n_critic)}
    assert module.images_seen == 7 * 32


def test_critic_steps_are_counted_across_epochs():
    # Two batches an epoch: a count that restarts with the epoch would never reach three.
    module = build(WGANGP, n_critic=3)
    fit(module, steps=12, batch_size=500)
    assert module.updates == {"discriminator": 12, "generator": 4}


def test_players_move_only_in_their_own_turn():
    seen = []

    class Watch(GAN):
        def update(self, name, objective, *batch):
            before = {n: nn.utils.parameters_to_vector(getattr(self, n).parameters()) for n in self.updates}
            super().update(name, objective, *batch)
            after = {n: nn.utils.parameters_to_vector(getattr(self, n).parameters()) for n in self.updates}
            seen.append((name, {n for n in before if not torch.equal(before[n], after[n])}))

    fit(build(Watch), steps=3)
    assert seen == [("discriminator", {"discriminator"}), ("generator", {"generator"})] * 3


def test_no_gradient_is_computed_for_the_idle_player():
    class Watch(GAN):
        def generator_loss(self, draw):
            self.discriminator.zero_grad()
            assert not any(p.requires_grad for p in self.discriminator.parameters())
            return super().generator_loss(draw)

        def discriminator_loss(self, draw):
            self.generator.zero_grad()
            assert not any(p.requires_grad for p in self.generator.parameters())
            with torch.no_grad():
                assert not self.generator(draw.z).requires_grad
            return super().discriminator_loss(draw)

    module = build(Watch)
    fit(module, steps=1)
    assert all(p.requires_grad for name in ("generator", "discriminator") for p in getattr(module, name).parameters())


def test_layers_frozen_by_the_user_stay_frozen():
    module = build(GAN)
    first = next(module.generator.parameters())
    first.requires_grad_(False)
    before = first.clone()
    fit(module, steps=3)
    assert not first.requires_grad
    assert torch.equal(before, first)


@pytest.mark.parametrize("parts", [2, 3, 32, 50])
@pytest.mark.parametrize("kind", [GAN, WGANGP, VAE])
def test_accumulated_parts_equal_the_whole_batch(kind, parts):
    names = [""] if kind is VAE else ["generator_", "discriminator_"]
    whole, split = build(kind), build(kind, **{f"{name}accumulate": parts for name in names})
    for module in (whole, split):
        fit(module, steps=3)
    for (name, a), b in zip(whole.named_parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_one_step_of_plain_pytorch():
    """A hand-written WGAN-GP-free loop with SGD gives the same weights."""
    sgd = partial(torch.optim.SGD, lr=0.1)
    module = build(
        GAN, loss=Hinge(), penalty=R1(weight=0.5), generator_optimizer=sgd, discriminator_optimizer=sgd,
        ema_half_life=None,
    )  # fmt: skip
    oracle = build(GAN, loss=Hinge())
    batches = []

    class Recorder(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            batches.append(batch[0].clone())

    fit(module, steps=1, callbacks=[Recorder()])
    real = batches[0]
    module.random.reseed(3, "train", 0)
    z, _, z2 = module.noise(32), module.random.uniform(32), module.noise(32)
    g, d = oracle.generator, oracle.discriminator
    x = real.clone().requires_grad_()
    loss = (1 - d(x)).relu().mean() + (1 + d(g(z).detach())).relu().mean()
    (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    loss = loss + 0.25 * gradient.flatten(1).square().sum(1).mean()
    for p, grad in zip(d.parameters(), torch.autograd.grad(loss, list(d.parameters()), allow_unused=True), strict=True):
        if grad is not None:
            p.data -= 0.1 * grad
    loss = -d(g(z2)).mean()
    for p, grad in zip(g.parameters(), torch.autograd.grad(loss, list(g.parameters())), strict=True):
        p.data -= 0.1 * grad
    for network in ("generator", "discriminator"):
        for a, b in zip(getattr(module, network).parameters(), getattr(oracle, network).parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_fused_optimizers_are_clipped_in_bfloat16_too():
    """Lightning refuses fused optimizers any clipping under mixed precision, for the sake of float16's scaling."""
    module, norms = build(GAN, generator_clip_norm=1e-3), []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            gradients = [p.grad.flatten() for p in module.generator.parameters()]
            norms.append(torch.cat(gradients).norm().item())

    fit(module, steps=2, precision="bf16-mixed", callbacks=[Watch()])
    assert module._players[1].torch_optimizer.defaults["fused"]
    assert norms == pytest.approx([1e-3] * 2, rel=1e-2)


def test_clipping_bounds_one_players_step():
    sgd = partial(torch.optim.SGD, lr=1.0)
    module = build(GAN, generator_optimizer=sgd, discriminator_optimizer=sgd, generator_clip_norm=1e-3)
    before = {n: nn.utils.parameters_to_vector(getattr(module, n).parameters()).clone() for n in module.updates}
    fit(module, steps=1)
    after = {n: nn.utils.parameters_to_vector(getattr(module, n).parameters()) for n in before}
    moved = {n: (after[n] - before[n]).norm().item() for n in before}
    assert moved["generator"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["discriminator"] > 1e-2


def test_schedules_count_their_players_updates():
    module = build(
        GAN, n_critic=2, generator_scheduler=partial(ExponentialLR, gamma=0.5),
        discriminator_scheduler=partial(ExponentialLR, gamma=0.9),
    )  # fmt: skip
    trainer = fit(module, steps=6)
    d, g = (optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers)
    assert d == pytest.approx(2e-4 * 0.9**6)
    assert g == pytest.approx(2e-4 * 0.5**3)


def test_weights_are_in_the_box_after_every_step():
    largest = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            largest.append(max(p.abs().max().item() for p in pl_module.discriminator.parameters()))

    fit(build(WGAN), steps=5, callbacks=[Watch()])
    assert all(value <= 0.01 + 1e-9 for value in largest)
    assert len(largest) == 5


@pytest.mark.parametrize("kind", [GAN, WGAN, WGANGP, VAE])
def test_bf16_mixed_trains_every_module(kind):
    module = build(kind)
    before = {name: p.clone() for name, p in module.named_parameters() if p.requires_grad}
    fit(module, steps=2 * getattr(module, "n_critic", 1), precision="bf16-mixed")
    after = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in after.values())
    still = {name for name in before if torch.equal(before[name], after[name])}
    # A constant added to all scores doesn't change the Wasserstein loss: the critic's last bias has no gradient.
    assert still <= ({"discriminator.layers.3.bias"} if kind in (WGAN, WGANGP) else set())


@pytest.mark.parametrize("kind", [GAN, VAE])
def test_double_precision_trains_with_an_average(kind):
    module = build(kind, ema_half_life=100)
    fit(module, steps=2, precision="64-true")
    assert all(p.dtype == torch.float64 and p.isfinite().all() for p in module.parameters())
    assert module.sample(2).dtype == torch.float64


def test_half_precision_weights_are_refused():
    with pytest.raises(ValueError, match="precision=bf16-true"):
        fit(build(GAN), precision="bf16-true")


def test_plateau_schedules_are_refused():
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        fit(build(GAN, generator_scheduler=ReduceLROnPlateau))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_critic": 0}, "n_critic=0"),
        ({"n_generator": -1}, "n_generator=-1"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"generator_accumulate": 0}, "generator_accumulate=0"),
        ({"discriminator_clip_norm": 0.0}, "discriminator_clip_norm=0"),
        ({"ema_half_life": 0}, "ema_half_life=0"),
        ({"ema_half_life": float("nan")}, "ema_half_life=nan"),
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(GAN, **arguments)


def test_a_player_without_weights_is_refused():
    class Empty(GenerativeModule):
        def __init__(self, image_shape: tuple[int, ...] = SHAPE):
            super().__init__(image_shape, None)
            self.network_ = nn.Identity()
            self.define([Player("artist", ("network_",), torch.optim.SGD)], averaged=[])

    with pytest.raises(ValueError, match="artist"):
        Empty().configure_optimizers()


def test_logged_names():
    class Keep(L.Callback):
        def on_train_end(self, trainer, pl_module):
            self.names = set(trainer.logged_metrics)

    keep = Keep()
    fit(build(WGANGP, n_critic=2), steps=4, callbacks=[keep], log_every_n_steps=2)
    assert keep.names == {
        "train/discriminator_loss", "train/generator_loss", "train/penalty", "train/real_score", "train/fake_score",
        "updates/discriminator", "updates/generator", "images_seen",
    }  # fmt: skip


def test_clipping_acts_on_unscaled_fp16_gradients():
    """A large loss scale must change neither the clipped step nor the penalty's gradient."""
    weights = []
    for scale in (1.0, 64.0):
        sgd = partial(torch.optim.SGD, lr=1.0)
        module = build(
            WGANGP, generator_optimizer=sgd, discriminator_optimizer=sgd, generator_clip_norm=1e-2,
            discriminator_clip_norm=1e-2, n_critic=1,
        )  # fmt: skip
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        fit(module, steps=2, plugins=[MixedPrecision("16-mixed", device="cpu", scaler=scaler)])
        weights.append(nn.utils.parameters_to_vector(module.parameters()).detach())
    start = nn.utils.parameters_to_vector(build(WGANGP).parameters()).detach()
    moved = (weights[0] - start).norm()
    assert moved > 1e-2
    assert (weights[0] - weights[1]).norm() < 0.02 * moved


def test_only_what_is_sampled_is_averaged():
    assert set(build(WGANGP).averages) == {"generator"}
    assert set(build(VAE, ema_half_life=100).averages) == {"encoder", "decoder"}
    assert not build(VAE).averages


@pytest.mark.parametrize("kind", [GAN, WGAN, WGANGP, VAE])
def test_no_attribute_that_checkpoint_callbacks_misread(kind):
    # Lightning's ModelCheckpoint saves `saved_models[-1]` in place of a module that has both.
    module = build(kind)
    assert not hasattr(module, "saved_models")
    assert not hasattr(module, "layer")


def test_other_strategies_are_refused():
    module = build(GAN)
    module._trainer = SimpleNamespace(strategy=object(), precision="32-true")
    with pytest.raises(ValueError, match=r"strategy=object.*ddp"):
        module.setup("fit")


def test_layers_frozen_meanwhile_stay_frozen():
    module = build(GAN)
    first = next(module.discriminator.parameters())

    class Freeze(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                first.requires_grad_(False)
                self.before = first.clone()

    freeze = Freeze()
    fit(module, steps=5, callbacks=[freeze])
    assert not first.requires_grad
    assert torch.equal(freeze.before, first)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"loss": RelativisticAverage()}, "loss"),
        ({"unroll": UnrolledSGD(1)}, "unroll"),
        ({"discriminator": partial(MLPDiscriminator, width=16, depth=1, minibatch="stddev")}, "discriminator."),
        ({}, None),
    ],
    ids=str,
)
def test_what_compares_a_batch_is_warned_of(options, named, recwarn):
    module = build(GAN, generator_accumulate=2, **options)
    trainer = L.Trainer(accelerator="cpu", max_steps=1, logger=False, barebones=True)
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=32))
    told = [str(warning.message) for warning in recwarn if "compared" in str(warning.message)]
    assert len(told) == (named is not None)
    assert all(text.startswith(named) and "generator_accumulate=2" in text for text in told)


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 9, 32])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 40])
def test_parts_hold_every_row_once_and_no_last_one_alone(rows, count):
    x = torch.arange(rows)
    parts = in_parts(x, count)
    assert torch.equal(torch.cat(parts), x)
    assert len(parts) <= count
    sizes = [len(part) for part in parts]
    assert sizes[-1] > 1 or set(sizes) == {1}


def test_batch_norm_takes_an_uneven_batch_in_parts():
    norm = partial(MLPGenerator, width=8, depth=1, norm="batch")
    module = build(GAN, generator=norm, generator_accumulate=4)
    fit(module, steps=2, batch_size=5)
    assert module.updates["generator"] == 2


@pytest.mark.parametrize("kind", [GAN, VAE])
def test_models_in_bfloat16_sample(kind):
    module = build(kind).bfloat16()
    assert module.dtype == torch.bfloat16
    assert module.sample(2).isfinite().all()


def test_the_loss_that_is_logged_under_a_lazy_penalty_is_one_sum_at_every_step():
    logged = []

    class Watch(GAN):
        def update(self, name, objective, *inputs):
            outcome = super().update(name, objective, *inputs)
            if name == "discriminator":
                logged.append({key: value.item() for key, value in outcome.values.items()})
            return outcome

    module = build(Watch, loss=Wasserstein(), penalty=R1(weight=50.0, interval=3))
    fit(module, steps=7)
    penalty = 0.0
    for i, values in enumerate(logged):
        penalty = values["penalty"] if i % 3 == 0 else penalty
        game = values["fake_score"] - values["real_score"]
        assert values["discriminator_loss"] == pytest.approx(game + penalty, rel=1e-5, abs=1e-6)
    assert penalty > 0


def test_a_relativistic_generators_step_keeps_no_graph_of_the_data():
    grows = []

    class Watch(GAN):
        def generator_game(self, judge, real, fake):
            grows.append(judge.score(real)[0].requires_grad)
            return super().generator_game(judge, real, fake)

    fit(build(Watch, loss=RelativisticPairing()), steps=2)
    assert grows == [False, False]


def test_the_average_of_a_young_run_shows_what_was_learned():
    """After 100 steps no more than a tenth of it is initial weights."""
    module, start = build(GAN), build(GAN)
    fit(module, steps=100)
    share, averages = [], module.averages["generator"].network
    for first, now, average in zip(
        start.generator.parameters(), module.generator.parameters(), averages.parameters(), strict=True
    ):
        away = now - first
        share.append(((now - average) * away).sum() / away.square().sum().clamp(min=1e-12))
    assert torch.stack(share).abs().mean() < 0.1
    kept = 1.0
    for step in range(1, 101):
        kept *= 0.5 ** (32 / min(10_000, 0.05 * 32 * step))
    assert kept < 1e-6


def test_modules_of_the_command_line_can_be_copied_while_they_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.max_steps", "3", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    unscored = ["--evaluate.extractor", "null", "--checkpoint.monitor", "null"]
    copies = ["--trainer.callbacks", "lightning.pytorch.callbacks.EMAWeightAveraging"]
    main(["fit", "--model", "VAE", "--data", "DigitsDataModule", *options, *unscored, *copies])
    assert list(tmp_path.rglob("last.ckpt"))


def test_a_copy_has_weights_of_its_own():
    module = build(GAN)
    fit(module, steps=2)
    twin = copy.deepcopy(module)
    own = {id(p) for p in twin.parameters()}
    assert all(id(p) in own for player in twin._players for p in player.parameters)
    assert not own & {id(p) for p in module.parameters()}
    fit(twin, steps=2)
    assert twin.updates["generator"] == 4


def test_a_run_resumed_between_lazy_penalties_tells_the_loss_of_the_uninterrupted_one(tmp_path):
    told = {}

    class Keep(L.Callback):
        def __init__(self, name):
            self.name = name

        def on_train_batch_end(self, trainer, pl_module, *_):
            told.setdefault(self.name, {})[trainer.global_step] = pl_module._losses["discriminator"][
                "discriminator_loss"
            ]
            if self.name == "whole" and trainer.global_step == 5:
                trainer.save_checkpoint(tmp_path / "5.ckpt")

    make = partial(build, GAN, penalty=R1(weight=100.0, interval=4))
    fit(make(), steps=8, callbacks=[Keep("whole")])
    module, options = make(), {"accelerator": "cpu", "max_steps": 8, "max_epochs": -1, "limit_val_batches": 0}
    trainer = L.Trainer(**options, logger=False, enable_checkpointing=False, callbacks=[Keep("resumed")])
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=32), ckpt_path=tmp_path / "5.ckpt", weights_only=True)
    assert sorted(told["resumed"]) == [6, 7, 8]
    for step, loss in told["resumed"].items():
        assert torch.equal(loss, told["whole"][step]), step


@pytest.mark.parametrize(
    ("names", "objective", "message"),
    [
        ("painter", None, "players painter: each of discriminator, generator"),
        (("generator", "generator"), None, "players generator, generator: each of .* at most once"),
        (("generator", "discriminator"), lambda z: (z.sum(), {}), "losses of one: one for each of discriminator, gen"),
        (("generator", "discriminator"), lambda z: ({"generator": z.sum()}, {}), "losses of generator: one for each"),
        ("generator", lambda z: (z.sum(), {"told": 1.0}), "value told=float: a tensor without dimensions"),
        ("generator", lambda z: (z.sum(), {"told": z[0, :1]}), r"value told=\(1,\): a tensor without dimensions"),
    ],
)
def test_mistaken_objectives_are_named(names, objective, message):
    class Mistaken(GAN):
        def training_step(self, batch, batch_idx):
            z = self.noise(4) * next(self.generator.parameters()).sum()
            self.update(names, objective, z)

    with pytest.raises(ValueError, match=message):
        fit(build(Mistaken), steps=1)


def test_a_misspelt_argument_is_named_with_what_is_accepted():
    with pytest.raises(
        TypeError, match=r"GAN: no argument generator_optimiser; did you mean generator_optimizer\?.*n_cr"
    ):
        GAN(SHAPE, 4, generator_optimiser=torch.optim.SGD)


class OwnSteps(GAN):
    """The generator rests, of which the library knows nothing."""

    def training_step(self, batch, batch_idx):
        self.update("discriminator", self.discriminator_loss, self.draw(batch))


def one_cycle(steps):
    return partial(OneCycleLR, max_lr=1e-3, total_steps=steps)


@pytest.mark.parametrize(("kind", "kwargs", "short", "counts"), [
    (GAN, {"n_critic": 2, "n_generator": 3}, {"generator": 8}, {"discriminator": 7, "generator": 9}),
    (GAN, {"n_critic": 2, "n_generator": 3}, {"discriminator": 6}, {"discriminator": 7, "generator": 9}),
    (VAE, {}, {"": 6}, {"vae": 7}),
    (VAE, {"encoder_steps": 2}, {"": 6}, {"encoder": 7, "decoder": 3}),
])  # fmt: skip
def test_a_schedule_that_ends_before_the_run_is_refused_before_it(kind, kwargs, short, counts):
    for fits in (False, True):
        schedules = {f"{name}_scheduler".lstrip("_"): one_cycle(steps + fits) for name, steps in short.items()}
        module = build(kind, **kwargs, **schedules)
        if fits:
            fit(module, steps=7)
            assert module.updates == counts
            continue
        told = " and ".join(f"{count} of the {player}" for player, count in counts.items())
        (steps,) = short.values()
        with pytest.raises(
            ValueError, match=f"schedule ends after {steps} updates, before the run, which makes {told}:"
        ):
            fit(module, steps=7)
        assert set(module.updates.values()) == {0}


def test_nothing_is_said_of_a_schedule_in_an_unknown_rhythm():
    module = build(OwnSteps, generator_scheduler=one_cycle(2))
    fit(module, steps=4)
    assert module.updates == {"discriminator": 4, "generator": 0}


def test_a_run_that_goes_on_needs_only_the_rest_of_its_schedule(tmp_path):
    module = build(GAN, discriminator_scheduler=one_cycle(6))
    fit(module, steps=3).save_checkpoint(tmp_path / "some.ckpt")
    resumed = build(GAN, discriminator_scheduler=one_cycle(6))
    for steps in (6, 7):
        trainer = L.Trainer(
            accelerator="cpu", max_steps=steps, max_epochs=-1, limit_val_batches=0, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        data = DigitsDataModule(batch_size=32)
        if steps == 6:
            trainer.fit(resumed, datamodule=data, ckpt_path=tmp_path / "some.ckpt", weights_only=True)
            assert resumed.updates["discriminator"] == 6
            continue
        with pytest.raises(
            ValueError, match="ends after 3 updates, before the run, which makes 4 of the discriminator"
        ):
            trainer.fit(resumed, datamodule=data, ckpt_path=tmp_path / "some.ckpt", weights_only=True)
