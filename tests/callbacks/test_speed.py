"""Faster ways of running the networks: the same training, the same checkpoints."""

import logging
import platform
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import lightning.pytorch as L
import lightning.pytorch.loops.training_epoch_loop
import pytest
import torch
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from torch import nn

import lit_gen
from datamodules import DigitsDataModule
from datamodules.base import DataModule
from datamodules.datasets import InMemoryDataset
from lit_gen import GAN, VAE, WGANGP
from lit_gen.callbacks import Speed
from lit_gen.kernels import FastConvolutions, guard_convolutions, measure_forms
from lit_gen.networks import DCGANDecoder, DCGANEncoder, ResNetDiscriminator, ResNetGenerator
from lit_gen.networks.checkpointing import Checkpointed
from lit_gen.training.hooks import BUILDER, OF_A_STEP, leave_out_idle


class Noise(DataModule):
    name, image_shape, num_classes = "noise", (3, 32, 32), 0

    def read(self):
        images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return {split: InMemoryDataset(images) for split in ("train", "val", "test")}


def build(kind, **options):
    torch.manual_seed(0)
    if kind is VAE:
        return VAE(Noise.image_shape, 4, partial(DCGANEncoder, width=4), partial(DCGANDecoder, width=4))
    networks = (partial(ResNetGenerator, width=4, **options), partial(ResNetDiscriminator, width=4, **options))
    return WGANGP(Noise.image_shape, 4, generator=networks[0], discriminator=networks[1], n_critic=2)


def fit(module, callback, precision="64-true"):
    trainer = L.Trainer(
        accelerator="cpu", max_steps=4, max_epochs=-1, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, precision=precision, callbacks=callback,
    )  # fmt: skip
    L.seed_everything(3, verbose=False)
    trainer.fit(module, Noise(batch_size=8))
    return module.state_dict()


ON_CPU = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), precision="32-true")
OFF = {"channels_last": False, "kernels": False, "keep_memory": False, "hooks": False}


@pytest.mark.parametrize("kind", [WGANGP, VAE])
@pytest.mark.parametrize("option", ["channels_last", "kernels", "compile", "hooks"])
def test_training_and_names_are_those_without(kind, option, monkeypatch):
    calls = []

    def compile(module):  # without a compiler of machine code, which takes a minute
        calls.append(module)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile)
    plain = fit(build(kind), Speed(**OFF))
    assert not calls
    module = build(kind)
    fast = fit(module, Speed(**{**OFF, option: True}))
    assert list(fast) == list(plain)
    for key in plain:
        torch.testing.assert_close(fast[key], plain[key], rtol=1e-6, atol=1e-8)
    maps = [value for key, value in fast.items() if value.ndim == 4 and min(value.shape) > 1]
    laid_out = all(value.is_contiguous(memory_format=torch.channels_last) for value in maps)
    assert laid_out == (option == "channels_last")
    assert (module.kernels is FastConvolutions) == (option == "kernels")
    assert bool(calls) == (option == "compile")


@pytest.mark.slow
def test_compiled_networks_compute_activations_again(monkeypatch):
    passes = []

    def compile(module):
        module._compiled_call_impl = torch.compile(module._call_impl, backend="aot_eager")

    def counted(forward, *inputs):
        passes.append(forward)
        return checkpoint(forward, *inputs)

    monkeypatch.setattr(nn.Module, "compile", compile)
    plain = fit(build(WGANGP), Speed(**OFF))
    module = build(WGANGP, checkpointing=True)
    checkpoint = Checkpointed._checkpoint
    monkeypatch.setattr(Checkpointed, "_checkpoint", staticmethod(torch.compiler.disable(counted)))
    compiled = fit(module, Speed(**{**OFF, "compile": True}))
    assert passes
    for key in plain:
        torch.testing.assert_close(compiled[key], plain[key], rtol=1e-6, atol=1e-8)


def test_the_defaults_leave_networks_without_convolutions_alone():
    module = GAN((2,), 2)
    Speed().setup(ON_CPU, module, "fit")
    assert module.kernels is nullcontext


def test_compiled_networks_keep_their_own_kernels(monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda module: None)
    module = build(WGANGP)
    Speed(compile=True).setup(ON_CPU, module, "fit")
    assert module.kernels is nullcontext


class Idle(L.Callback):
    """Follows the weights alone."""

    ended = 0

    def on_train_batch_end(self, *_):
        self.ended += 1


def calls_of(speed, callbacks):
    """Hooks of callbacks that a trainer called in four steps of a GAN, by all names that it measured."""

    class Names(PassThroughProfiler):
        def start(self, action_name):
            names.append(action_name)

    names = []
    trainer = L.Trainer(
        accelerator="cpu", max_steps=4, max_epochs=-1, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, profiler=Names(), callbacks=[*callbacks, speed],
    )  # fmt: skip
    trainer.fit(GAN((1, 8, 8), 4), DigitsDataModule())
    steps = [name for name in names if name.endswith(OF_A_STEP) and name.startswith("[Callback]")]
    return [name.removeprefix("[Callback]").partition("{")[0] for name in steps]


def test_a_step_calls_no_idle_hook():
    idle = Idle()
    assert calls_of(Speed(), [idle]) == ["Idle.on_train_batch_end"] * 4
    assert idle.ended == 4
    assert not vars(idle).keys() & OF_A_STEP  # as it was before
    two_updates = 3 * 2  # before and after the backward pass and before the optimizer's step
    assert len(calls_of(Speed(hooks=False), [Idle()])) == 4 * (2 + two_updates) * 2


def test_callbacks_are_left_as_they_were_by_a_run_that_fails():
    class Failing(L.Callback):
        def on_train_batch_end(self, *_):
            assert self.on_before_backward is None
            raise ArithmeticError

    failing = Failing()
    with pytest.raises(ArithmeticError):
        fit(build(VAE), [failing, Speed()])
    assert not vars(failing).keys() & OF_A_STEP


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("hooks", [True, False])
def test_the_arguments_of_a_step_are_looked_at_once(numbered, hooks, monkeypatch):
    looks, given = [], []
    for module in (lightning.pytorch.loops.training_epoch_loop, lit_gen.training.hooks):
        looks.append(Mock(side_effect=module.is_param_in_hook_signature))
        monkeypatch.setattr(module, "is_param_in_hook_signature", looks[-1])

    class Numbered(VAE):
        def training_step(self, batch, batch_idx):
            given.append(batch_idx)
            super().training_step(batch, batch_idx)

    class Unnumbered(VAE):
        def training_step(self, batch):
            given.append(None)
            super().training_step(batch, 0)

    kind = Numbered if numbered else Unnumbered
    model = kind(Noise.image_shape, 4, partial(DCGANEncoder, width=4), partial(DCGANDecoder, width=4))
    fit(model, Speed(hooks=hooks))
    assert given == ([0, 1, 2, 3] if numbered else [None] * 4)
    assert sum(look.call_count for look in looks) == (1 if hooks else 4)
    assert BUILDER not in vars(model.trainer.fit_loop.epoch_loop)


def test_nothing_is_measured_unless_a_profiler_is_given():
    trainer = SimpleNamespace(profiler=PassThroughProfiler(), callbacks=[])
    leave_out_idle(trainer)
    assert trainer.profiler.profile("a hook") is trainer.profiler.profile("another one")
    trainer.profiler = given = SimpleProfiler()
    leave_out_idle(trainer)
    assert trainer.profiler is given


FAULTS = """
import resource, sys, torch
from lit_gen.callbacks.speed import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
for repeat in range(10):
    if repeat == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(int(sys.argv[2]) << 18) for _ in range(4)]  # of so many MiB
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_forms_are_measured_once_for_all_runs_and_training_is_the_same(caplog):
    def trained(measure):
        with caplog.at_level(logging.INFO, "lightning.pytorch"):
            caplog.clear()
            weights = fit(build(VAE), Speed(measure=measure), "bf16-mixed")
        return weights, "bfloat16 convolutions were measured in" in caplog.text

    (by_table, of_table), (first, told), (second, again) = (trained(choice) for choice in ("off", "on", "on"))
    measure_forms("off")
    assert (of_table, told, again) == (False, True, False)
    for name, weight in by_table.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=0.02, atol=2e-3)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="acts on glibc's allocator")
@pytest.mark.parametrize("mib", [24, 40])
def test_freed_memory_is_kept(mib):
    given_back, kept = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, mode, str(mib)], capture_output=True, text=True, check=True
            ).stdout
        )
        for mode in ("give back", "keep")
    )
    assert kept < given_back / 4


def test_a_run_tells_of_the_guard_what_it_did_itself(caplog):
    """Not what another run of the process met before."""
    guard = guard_convolutions("on")
    guard.used.add("a shape of an earlier run")
    with caplog.at_level(logging.INFO):
        lit_gen.fit(
            GAN((1, 8, 8), 4), DigitsDataModule(), max_steps=1, accelerator="cpu", callbacks=[Speed(guard="on")]
        )
    guard_convolutions("auto")
    assert not [record for record in caplog.records if "shapes of convolutions" in record.getMessage()]
