"""Half precision: one scaler for two optimizers, gradients close to float32's, and why weights have 32 bits."""

import math
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from process_group import in_group
from test_faults import held
from test_update import SHAPE, build
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.optim.lr_scheduler import ExponentialLR

from datamodules import DigitsDataModule
from lit_gen import GAN, VAE, WGANGP
from lit_gen.callbacks import FaultPolicy
from lit_gen.cli.app import main
from lit_gen.losses import R1
from lit_gen.modules.adversarial import GANDraw
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator
from lit_gen.optimizers import GANAdam
from lit_gen.training.averaging import ExponentialMovingAverage

ON_A_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
ACCELERATORS = pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=ON_A_GPU)])
SCALE = 256.0


def half(accelerator, **scaler):
    """16-mixed with a real gradient scaler, which Lightning makes bf16-mixed of on a CPU."""
    device = "cuda" if accelerator == "gpu" else "cpu"
    scaler = torch.amp.GradScaler(device, **{"init_scale": SCALE, "growth_interval": 1000, **scaler})
    return MixedPrecision("16-mixed", device=device, scaler=scaler)


def train(module, accelerator, steps=4, devices=1, **kwargs):
    warnings.simplefilter("ignore")
    trainer = L.Trainer(
        accelerator=accelerator, devices=devices, max_steps=steps, max_epochs=-1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **kwargs,
    )  # fmt: skip
    L.seed_everything(3, verbose=False)
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=32))
    return trainer


class Overflow(torch.autograd.Function):
    """The identity, whose gradient is beyond every number."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, math.inf)


class Overflowing(GAN):
    """Whose ``victim``'s gradient overflows at step 2, on the last process; keeps what each update of it changes."""

    victim = "discriminator"

    def update(self, name, objective, *batch):
        plugin = self.trainer.precision_plugin
        before, scale = held(self), plugin.scaler.get_scale()
        broken = self.step == 2 and name == self.victim and self.trainer.global_rank == self.trainer.world_size - 1

        def overflowing(*inputs):
            loss, values = objective(*inputs)
            return (Overflow.apply(loss) if broken else loss), values

        stepped = super().update(name, overflowing, *batch)
        if self.step == 2:
            scales = (scale, plugin.scaler.get_scale())
            self.__dict__.setdefault("seen", {})[name] = (stepped, before, held(self), scales)
        return stepped


def overflowing(victim, **arguments):
    module = build(
        Overflowing, ema_half_life=100, generator_scheduler=partial(ExponentialLR, gamma=0.5),
        discriminator_scheduler=partial(ExponentialLR, gamma=0.5), **arguments,
    )  # fmt: skip
    module.victim = victim
    return module


def moved(before, after, network):
    return any(
        not torch.equal(before["weights"][key], after["weights"][key])
        for key in before["weights"]
        if key.startswith(f"{network}.")
    )


@ACCELERATORS
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("victim", ["discriminator", "generator"])
def test_an_overflow_costs_one_player_one_step(victim, fused, accelerator, assert_same):
    optimizer = partial(GANAdam, lr=1e-3, fused=fused)
    module = overflowing(victim, generator_optimizer=optimizer, discriminator_optimizer=optimizer)
    trainer = train(module, accelerator, plugins=[half(accelerator)])
    (other,) = {"discriminator", "generator"} - {victim}
    stepped, before, after, scales = module.seen[victim]
    assert not stepped
    if fused:  # these are called in any case, and count and remember nothing
        before.pop("optimizers"), after.pop("optimizers")
    assert_same(before, after)
    assert scales == (SCALE, SCALE / 2)
    stepped, before, after, scales = module.seen[other]
    assert stepped
    assert moved(before, after, other)
    assert not moved(before, after, victim)
    assert scales[0] == scales[1]
    assert module.updates == {victim: 3, other: 4}
    assert module.faults.skipped == {victim: 1}
    assert trainer.global_step == 4


@ACCELERATORS
def test_each_player_is_unscaled_by_the_scale_of_its_own_backward_pass(accelerator):
    """Two optimizers, n_critic and clipping: a scale that doubles at every step changes no step."""
    ends = []
    for growth_interval in (1000, 1):
        sgd = partial(torch.optim.SGD, lr=1.0)
        module = build(
            WGANGP, n_critic=2, generator_optimizer=sgd, discriminator_optimizer=sgd, generator_clip_norm=0.01,
            discriminator_clip_norm=0.05,
        )  # fmt: skip
        start = parameters_to_vector(module.parameters()).detach().clone()
        plugin = half(accelerator, init_scale=16.0, growth_interval=growth_interval)
        train(module, accelerator, steps=4, plugins=[plugin])
        assert plugin.scaler.get_scale() == (16.0 if growth_interval > 1 else 16.0 * 2**6)
        ends.append(parameters_to_vector(module.parameters()).detach().cpu() - start)
    assert ends[0].norm() > 0.05
    assert (ends[0] - ends[1]).norm() < 0.02 * ends[0].norm()


@ACCELERATORS
def test_a_scaler_that_never_finds_its_scale_ends_the_run(accelerator):
    class Endless(Overflowing):
        step = property(lambda self: 2, lambda self, value: None)

    module = build(Endless)
    with pytest.raises(
        ValueError, match=r"^3 updates in a row .* limit=2; .*discriminator's gradient overflows float16"
    ):
        train(module, accelerator, steps=9, plugins=[half(accelerator)], callbacks=[FaultPolicy(limit=2)])


@ACCELERATORS
def test_a_loss_that_is_not_finite_is_no_matter_of_the_scale(accelerator):
    module = build(GAN)
    with torch.no_grad():
        next(module.discriminator.parameters())[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"discriminator's real_score, fake_score are not finite, nor weight discrim"):
        train(module, accelerator, plugins=[half(accelerator)])


def overflow_in_two():
    module = overflowing("discriminator")
    train(module, "cpu", devices=2, plugins=[half("cpu")])
    return {"end": held(module), "skipped": module.faults.skipped, "scales": module.seen["discriminator"][-1]}


def test_an_overflow_on_one_process_is_one_of_all(assert_same):
    first, second = in_group(2, overflow_in_two)
    assert_same(first, second)
    assert first["skipped"] == {"discriminator": 1}
    assert first["scales"] == (SCALE, SCALE / 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("kind", [GAN, WGANGP, VAE])
def test_half_precision_trains_on_a_gpu(kind, precision):
    module = build(kind)
    start = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
    train(module, "gpu", steps=30, precision=precision)
    for name, p in module.named_parameters():
        assert p.dtype == torch.float32
        assert p.isfinite().all()
        assert name not in start or name.endswith("bias") or not torch.equal(p.cpu(), start[name])


@pytest.mark.parametrize("kind", [GAN, WGANGP])
def test_critic_gradients_in_bfloat16_are_close_to_float32(kind):
    """The whole loss of a convolutional critic, with its penalty."""
    torch.manual_seed(0)
    networks = {"generator": partial(DCGANGenerator, width=8), "discriminator": partial(DCGANDiscriminator, width=8)}
    networks["discriminator"].keywords["norm"] = "layer"
    module = kind(SHAPE, latent_dim=8, **networks, **({"penalty": R1(weight=10.0)} if kind is GAN else {}))
    real, z, epsilon = torch.rand(64, *SHAPE) * 2 - 1, torch.randn(64, 8), torch.rand(64)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss, values = module.discriminator_loss(GANDraw(real, z, epsilon))
        assert loss.dtype == values["penalty"].dtype == torch.float32
        gradient = torch.autograd.grad(loss, list(module.discriminator.parameters()), allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in gradient if g is not None]))
    assert 0 < (gradients[0] - gradients[1]).norm() < 0.03 * gradients[0].norm()


def test_why_weights_of_16_bits_are_refused():
    """Steps of the usual size and averages of the usual half-life don't move them at all."""
    weights = {dtype: nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.bfloat16, torch.float32)}
    for weight in weights.values():
        optimizer = GANAdam([weight], lr=2e-4)
        for _ in range(100):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
    assert weights[torch.bfloat16].tolist() == [1.0] * 3
    assert weights[torch.float32].tolist() == pytest.approx([1 - 100 * 2e-4] * 3, rel=1e-3)

    far, near = nn.Linear(1, 1).requires_grad_(False), nn.Linear(1, 1).requires_grad_(False)
    far.weight.fill_(1.5), near.weight.fill_(1.0)
    averages = [ExponentialMovingAverage(near, 10_000), ExponentialMovingAverage(near, 10_000)]
    averages[1].network.bfloat16()
    for average in averages:
        for _ in range(100):
            average.follow(far, 10)
    moved = [average.network.weight.item() - 1 for average in averages]
    assert moved[0] == pytest.approx(0.5 * (1 - 0.5**0.1), rel=1e-3)
    assert moved[1] == 0


@pytest.mark.parametrize("config", ["gan_digits", "vae_digits", "cyclegan_digits"])
def test_shipped_configs_train_and_validate_in_float64(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"precision": "64-true", "max_steps": 2, "val_check_interval": 2, "accelerator": "cpu"}
    main(["fit", f"--config={config}", *(f"--trainer.{name}={value}" for name, value in options.items())])
    (last,) = tmp_path.rglob("last.ckpt")
    weights = torch.load(last, weights_only=True)["state_dict"]
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float64}


def test_batches_come_in_the_trainers_precision():
    seen = []

    class Watch(GAN):
        def training_step(self, batch, batch_idx):
            seen.append(batch[0].dtype)
            super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            seen.append(batch[0].dtype)

    for precision, dtype in {"64-true": torch.float64, "32-true": torch.float32, "bf16-mixed": torch.float32}.items():
        seen.clear()
        trainer = L.Trainer(accelerator="cpu", max_steps=1, limit_val_batches=1, precision=precision, barebones=True)
        trainer.fit(build(Watch), datamodule=DigitsDataModule(batch_size=32))
        assert set(seen) == {dtype}


def test_an_overflow_moves_no_running_statistics_whatever_the_policy():
    generator = partial(DCGANGenerator, width=4)
    module = build(GAN, generator=generator, discriminator=partial(DCGANDiscriminator, width=4, norm="layer"))
    before = {name: value.clone() for name, value in module.generator.named_buffers()}
    assert before
    trainer = L.Trainer(
        accelerator="cpu", max_steps=1, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, plugins=[half("cpu", init_scale=2.0**60)],
    )  # fmt: skip
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=16))
    assert module.updates == {"discriminator": 0, "generator": 0}
    for name, value in module.generator.named_buffers():
        assert torch.equal(value, before[name]), name


def test_several_players_in_one_update_are_refused_under_a_scaler():
    class Joint(GAN):
        def training_step(self, batch, batch_idx):
            self.update(("generator", "discriminator"), lambda x: ({}, {}), batch[0])

    trainer = L.Trainer(accelerator="cpu", max_steps=1, barebones=True, plugins=[half("cpu")])
    with pytest.raises(ValueError, match="precision=16-mixed: several players can't share a pass"):
        trainer.fit(build(Joint), datamodule=DigitsDataModule(batch_size=16))
