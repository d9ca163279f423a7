"""Losses and gradients that are not finite: found at their step, named, left out on all processes alike."""

import copy
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from process_group import in_group
from test_update import SMALL, build, fit
from torch.optim.lr_scheduler import ExponentialLR

from datamodules import RecolouredDigitsDataModule
from lit_gen import GAN, VAE, CycleGAN
from lit_gen.callbacks import FaultPolicy
from lit_gen.cli.app import main
from lit_gen.losses import R1
from lit_gen.networks import MLPDiscriminator, MLPGenerator, PatchGAN, ResNetTranslator
from lit_gen.training.faults import Faults

NAN = float("nan")
BATCH_NORM = {
    **SMALL,
    "generator": partial(MLPGenerator, width=16, depth=1, norm="batch"),
    "discriminator": partial(MLPDiscriminator, width=16, depth=2, norm="batch"),
}


class Plant(L.Callback):
    """Calls ``plant(module, batch)`` before the batches of some steps, on one process, and undoes it after them."""

    def __init__(self, plant, *steps, rank=0):
        self.plant, self.steps, self.rank, self.undo = plant, steps, rank, None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step in self.steps and trainer.global_rank == self.rank:
            self.undo = self.plant(pl_module, batch)

    def on_train_batch_end(self, *_):
        if self.undo:
            self.undo()
        self.undo = None


def data(module, batch):
    (batch["a"] if isinstance(batch, dict) else batch)[0][5] = NAN


def weight(module, batch):
    next((module.encoder if isinstance(module, VAE) else module.generator).parameters()).data[0, 0] = NAN


class PoisonedGradient(torch.autograd.Function):
    """The identity, whose gradient is not a number."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * NAN


def gradient_of(player):
    def plant(module, batch):
        return module.get_submodule(player).register_forward_hook(lambda *_: PoisonedGradient.apply(_[2])).remove

    return plant


@dataclass(frozen=True)
class BrokenR1(R1):
    """Not a number where the first pixel of the first image is 1."""

    def __call__(self, discriminator, real, fake, epsilon):
        value = super().__call__(discriminator, real, fake, epsilon)
        return value * NAN if real[0, 0, 0, 0] == 1 else value


def penalty(module, batch):
    batch[0][0, 0, 0, 0] = 1


def cycle_gan():
    torch.manual_seed(0)
    return CycleGAN(
        (3, 8, 8), partial(ResNetTranslator, width=4, blocks=1), partial(PatchGAN, width=4), pool_size=20,
        ema_half_life=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "plant", "message"),
    [
        (GAN, data, r"the discriminator's real_score is not finite, nor input real \(1 of 32 rows\);"),
        (VAE, data, r"vae's reconstruction_nats, kl_nats are not finite, nor input x \(1 of 32 rows\);"),
        (GAN, weight, r"discriminator's fake_score is .* weight generator.layers.0.weight \(1 of 16 rows\);"),
        (VAE, weight, r"the vae's .* weight encoder.layers.0.weight \(1 of 16 rows\);"),
        (GAN, gradient_of("generator"), r"the generator's gradient is .* gradient of generator.layers.0.weight"),
        (GAN, gradient_of("discriminator"), r"discriminator's gradient is .* of discriminator.layers.0.weight"),
        (GAN, penalty, r"the discriminator's penalty is not finite, but all inputs and weights are;"),
    ],
)
def test_a_planted_fault_is_named_at_its_step(kind, plant, message):
    module = build(kind, **({"penalty": BrokenR1(weight=1.0)} if plant is penalty else {}))
    with pytest.raises(ValueError, match=rf"^step 2: .*{message}"):
        fit(module, steps=4, callbacks=[Plant(plant, 2)])


@pytest.mark.parametrize("row", [0, 31])
def test_a_fault_in_any_part_of_an_accumulated_batch_is_named(row):
    def plant(module, batch):
        batch[0][row] = NAN

    module = build(GAN, discriminator_accumulate=4)
    message = r"step 2: the discriminator's real_score is not finite, nor input real \(1 of 32 rows\);"
    with pytest.raises(ValueError, match=message):
        fit(module, steps=4, callbacks=[Plant(plant, 2)])


def test_the_terms_of_two_domains_are_named():
    with pytest.raises(
        ValueError, match=r"step 1: the generator's .*cycle_a.* are not finite, nor input a \(1 of 8 rows\);"
    ):
        fit_cycle_gan(cycle_gan(), Plant(data, 1))


def fit_cycle_gan(module, *callbacks):
    trainer = L.Trainer(
        accelerator="cpu", max_steps=4, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    L.seed_everything(3, verbose=False)
    trainer.fit(module, datamodule=RecolouredDigitsDataModule(batch_size=8))


def held(module):
    """All that an update changes."""
    return copy.deepcopy(
        {
            "weights": module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in module.trainer.optimizers],
            "schedules": [config.scheduler.state_dict() for config in module.trainer.lr_scheduler_configs],
            "counters": [module.updates, module.images_seen],
        }
    )


class Watched(GAN):
    """Keeps what was held before and after each player's update of step 2."""

    def update(self, name, objective, *batch):
        before = held(self)
        stepped = super().update(name, objective, *batch)
        if self.step == 2:
            self.__dict__.setdefault("seen", {})[name] = (stepped, before, held(self))
        return stepped


@pytest.mark.parametrize("plant", [data, gradient_of("discriminator")])
def test_an_update_left_out_changes_nothing(plant, assert_same):
    module = build(
        Watched, **BATCH_NORM, ema_half_life=100, discriminator_scheduler=partial(ExponentialLR, gamma=0.5),
        generator_scheduler=partial(ExponentialLR, gamma=0.5),
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"step 2: the discriminator's .* left out"):
        torch_warnings_on(lambda: fit(module, steps=6, callbacks=[Plant(plant, 2), FaultPolicy("skip")]))
    left_out = {name: seen for name, seen in module.seen.items() if not seen[0]}
    assert left_out.keys() == ({"discriminator"} if plant is data else {"discriminator", "generator"})
    for _, before, after in left_out.values():
        assert_same(before, after)
    assert module.trainer.global_step == 6
    assert module.updates == {name: 6 - (name in left_out) for name in ("discriminator", "generator")}
    assert module.faults.skipped == dict.fromkeys(left_out, 1)
    assert all(x.isfinite().all() for x in module.state_dict().values())


def torch_warnings_on(run):
    import warnings

    simple = warnings.simplefilter
    warnings.simplefilter = lambda *_, **__: None  # fit silences all
    try:
        run()
    finally:
        warnings.simplefilter = simple


def test_the_players_keep_their_rhythm():
    module = build(GAN, n_critic=2)
    fit(module, steps=8, callbacks=[Plant(data, 2, 5), FaultPolicy("skip")])
    assert module.updates == {"discriminator": 6, "generator": 4}


def test_broken_translations_do_not_enter_the_pools():
    module = cycle_gan()
    fit_cycle_gan(module, Plant(data, 1), FaultPolicy("skip"))
    assert module.updates == {"generator": 3, "discriminator": 3}
    for pool in module.pools.values():
        assert all(torch.as_tensor(image).isfinite().all() for image in pool.state_dict()["images"])
    assert all(x.isfinite().all() for x in module.state_dict().values())


@pytest.mark.parametrize(("steps", "ends"), [((1, 2, 3), True), ((1, 2, 4, 5), False)])
def test_only_so_many_in_a_row_are_left_out(steps, ends):
    module, callbacks = build(GAN), [Plant(data, *steps), FaultPolicy("skip", limit=2)]
    if not ends:
        fit(module, steps=6, callbacks=callbacks)
        assert module.faults.skipped == {"discriminator": 4}
        return
    with pytest.raises(
        ValueError, match=r"3 updates in a row were left out, limit=2; step 3: the discriminator's real"
    ):
        fit(module, steps=6, callbacks=callbacks)


def test_the_counter_is_logged_and_kept_in_the_checkpoint():
    class Keep(L.Callback):
        def on_train_end(self, trainer, pl_module):
            self.logged = dict(trainer.logged_metrics)

    keep, module = Keep(), build(GAN)
    fit(module, steps=4, callbacks=[Plant(data, 1, 3), FaultPolicy("skip"), keep], log_every_n_steps=2)
    assert keep.logged["skipped/discriminator"] == 2
    checkpoint, other = {}, build(GAN)
    module.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert other.faults.skipped == {"discriminator": 2}
    assert other.turns("discriminator") == 4


class FakeFindings(SimpleNamespace):
    """Of a device that need not be waited for."""

    def __init__(self, bad, step):
        marks = SimpleNamespace(device=torch.device("cuda"), any=lambda: bad)
        super().__init__(marks=marks, player="generator", message=lambda: f"step {step}")


def test_a_gpu_is_read_one_update_later_and_before_a_checkpoint():
    faults = Faults()
    assert faults.permit(FakeFindings(False, 0))
    assert faults.permit(FakeFindings(True, 1))
    with pytest.raises(ValueError, match="step 1"):
        faults.permit(FakeFindings(False, 2))
    module = build(GAN)
    assert module.faults.permit(FakeFindings(True, 3))
    with pytest.raises(ValueError, match="step 3"):
        module.on_save_checkpoint({})
    assert module.faults.permit(FakeFindings(True, 4))
    with pytest.raises(ValueError, match="step 4"):
        module.on_train_end()


def in_two(policy, limit, plant, steps):
    """What one of two processes ends with, of which the second has the fault."""
    module = build(GAN, ema_half_life=100)
    callbacks = [FaultPolicy(policy, limit), Plant(plant, *steps, rank=1)]
    try:
        fit(module, steps=5, devices=2, callbacks=callbacks)
    except ValueError as error:
        return str(error)
    return {"held": held(module), "skipped": module.faults.skipped, "step": module.trainer.global_step}


def all_in_two():
    return {
        "raise": in_two("raise", 0, data, [2]),
        "gradient": in_two("raise", 0, gradient_of("generator"), [2]),
        "skip": in_two("skip", 2, data, [1, 3]),
        "limit": in_two("skip", 1, data, [1, 2, 3]),
    }


def test_two_processes_decide_alike_about_a_fault_of_one(assert_same):
    first, second = in_group(2, all_in_two, timeout=120)
    assert_same(first, second)
    assert "discriminator's real_score is not finite on process 1 of 2" in first["raise"]
    assert "input real (1 of 16 rows)" in first["raise"]
    assert first["gradient"].startswith("step 2: the generator's gradient is not finite on process 1 of 2")
    assert first["limit"].startswith("2 updates in a row were left out, limit=1; step 2")
    assert first["skip"]["skipped"] == {"discriminator": 2}
    assert first["skip"]["step"] == 5
    assert all(x.isfinite().all() for x in first["skip"]["held"]["weights"].values())


def test_the_command_line_reports_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.max_steps=5", "--trainer.accelerator=cpu", "--model.discriminator_optimizer.lr=1e30"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--model=GAN", "--data=DigitsDataModule", *options, "--faults.policy=skip", "--faults.limit=1"])
    assert stop.value.code == 2
    assert "lit-gen: error: 2 updates in a row were left out, limit=1; step" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [(["ignore"], "policy='ignore'"), (["skip", -1], "limit=-1")])
def test_policies_that_do_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        FaultPolicy(*arguments)
