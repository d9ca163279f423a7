"""How the networks are laid out in memory and run."""

import ctypes
import sys
from typing import Any, cast, get_args

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lit_gen.kernels import FastConvolutions, fast_products, guard_convolutions, measure_forms, products
from lit_gen.kernels.guard import Choice
from lit_gen.kernels.measured import Measured
from lit_gen.modules.base import GenerativeModule
from lit_gen.training.hooks import bring_back, leave_out_idle, look_once

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


class Speed(L.Callback):
    """Ways to run a module's networks faster that change no value but by rounding, nor any name in a checkpoint.

    The options act on convolutional networks and leave others alone, but for `compile`, `hooks`, and `kernels` as to
    products of matrices.

    Args:
        channels_last: Lay convolutions' weights, and with them the maps, out with the channels innermost.
        compile: Compile the networks by `torch.compile` at their first use, which takes a minute or more. Penalties
            run without it, as compiled networks have no second derivatives.
        kernels: On a CPU, compute convolutions and their gradients in the forms of `lit_gen.kernels`. Without effect
            on networks that are compiled. On an AMD Zen 5, let oneDNN multiply the float32 matrices of wide linear
            layers under ``32-true``, in the whole process while the trainer runs.
        keep_memory: On a CPU, keep the memory that a step frees for the next one. The process then holds on to the
            most that it ever took, and to several times that if it takes large blocks of ever other sizes.
        guard: Keep bfloat16 convolutions on a CPU right, which PyTorch's are not on some processors: ``auto`` where a
            trial finds them wrong, ``on`` anywhere, ``off`` nowhere (YAML's true and false). It holds for the whole
            process.
        hooks: During training, call no hook of a step that a callback leaves as it is, measure no hook unless the
            trainer was given a profiler, and look at the arguments of ``training_step`` once.
        measure: With `kernels`, measure once a shape which form of a bfloat16 convolution is the fastest, and keep the
            answer for later runs on this machine, in ``lit-gen/forms`` of the user's cache: ``auto`` on processors with
            AMX, for which there is no table, ``on`` on any, ``off`` on none. It holds for the whole process.

    Raises:
        ValueError: For another guard or measure.
    """

    def __init__(
        self,
        channels_last: bool = True,
        compile: bool = False,
        kernels: bool = True,
        keep_memory: bool = True,
        guard: Choice | bool = "auto",
        hooks: bool = True,
        measure: Choice | bool = "auto",
    ) -> None:
        self.channels_last, self.compile = channels_last, compile
        self.kernels, self.keep_memory, self.hooks = kernels, keep_memory, hooks
        self.measure, self.guard = _choice("measure", measure), _choice("guard", guard)
        self.measured: Measured | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before the optimizers are made and a checkpoint is read."""
        convolutional = any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in pl_module.modules())
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if (in_place := guard_convolutions(self.guard)) is not None:
            in_place.used.clear()
        if self.channels_last and convolutional:
            arguments: Any = {"memory_format": torch.channels_last}
            pl_module.to(**arguments)
        if self.keep_memory and convolutional and on_cpu:
            keep_freed_memory()
        kernels = self.kernels and not self.compile and on_cpu
        fast_products(kernels and trainer.precision == "32-true" and products.gain(pl_module))
        ours = isinstance(pl_module, GenerativeModule)
        uses_forms = ours and kernels and convolutional
        self.measured = measure_forms(self.measure if uses_forms else "off")
        if not isinstance(pl_module, GenerativeModule):
            return
        if self.compile:
            for player in pl_module._players:
                for name in player.networks:
                    pl_module.get_submodule(name).compile()
        elif uses_forms:
            pl_module.kernels = FastConvolutions

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out idle hooks."""
        if self.hooks:
            leave_out_idle(trainer)
            look_once(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the callbacks as they were."""
        bring_back(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the callbacks and products as they were."""
        bring_back(trainer)
        fast_products(False)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Say what was measured, and what the guard has done in this run; leave products to PyTorch again."""
        fast_products(False)
        if self.measured is not None and self.measured.count:
            until = f"for later runs too: {self.measured.folder}" if self.measured.kept else "for this run alone"
            rank_zero_info(
                f"the fastest forms of {self.measured.count} bfloat16 convolutions were measured in "
                f"{self.measured.seconds:.1f} s, {until} (docs/speed.md)"
            )
            self.measured.count, self.measured.seconds = 0, 0.0
        guard = guard_convolutions()
        if guard is not None and guard.used:
            rank_zero_info(
                f"{len(guard.used)} shapes of convolutions or their gradients were computed in float32, as PyTorch's "
                "in 16 bits are wrong there on this processor (docs/bfloat16.md)"
            )


def _choice(name: str, value: Choice | bool) -> Choice:
    """One of the words, of which YAML reads two as Booleans."""
    word = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    if word not in get_args(Choice):
        raise ValueError(f"{name}={value!r}: 'auto', 'on' or 'off'")
    return cast(Choice, word)


def keep_freed_memory() -> None:
    """Let glibc's allocator return nothing to the system, which would clear each page anew; without effect elsewhere.

    By default a block of some MiB is given back as soon as it is freed, and a step takes it again page by page. A
    threshold would not do: those of 32 MiB or more, the largest that it can be, would still be given back.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)  # no block apart from the heap
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
