"""How the networks are laid out in memory and run."""

import ctypes
import sys
from typing import Any

import lightning.pytorch as L
import torch
from torch import nn

from lit_gen.kernels import FastConvolutions
from lit_gen.modules.base import GenerativeModule

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_THRESHOLD = -1, -3, 32 << 20  # of glibc's malloc.h


class Speed(L.Callback):
    """Ways to run a module's networks faster that change no value but by rounding, nor any name in a checkpoint.

    The options act on convolutional networks and leave others alone, but for `compile`.

    Args:
        channels_last: Lay convolutions' weights, and with them the maps, out with the channels innermost.
        compile: Compile the networks by `torch.compile` at their first use, which takes a minute or more. Penalties
            run without it, as compiled networks have no second derivatives.
        kernels: On a CPU, compute convolutions and their gradients in the forms of `lit_gen.kernels`. Without effect
            on networks that are compiled.
        keep_memory: On a CPU, keep the memory that a step frees for the next one. The process then holds on to the
            most that it ever took.
    """

    def __init__(
        self, channels_last: bool = True, compile: bool = False, kernels: bool = True, keep_memory: bool = True
    ) -> None:
        self.channels_last, self.compile = channels_last, compile
        self.kernels, self.keep_memory = kernels, keep_memory

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before the optimizers are made and a checkpoint is read."""
        convolutional = any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in pl_module.modules())
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if self.channels_last and convolutional:
            arguments: Any = {"memory_format": torch.channels_last}
            pl_module.to(**arguments)
        if self.keep_memory and convolutional and on_cpu:
            keep_freed_memory()
        if not isinstance(pl_module, GenerativeModule):
            return
        if self.compile:
            for player in pl_module._players:
                for name in player.networks:
                    pl_module.get_submodule(name).compile()
        elif self.kernels and convolutional and on_cpu:
            pl_module.kernels = FastConvolutions


def keep_freed_memory() -> None:
    """Let glibc's allocator return nothing to the system, which would clear each page anew; without effect elsewhere.

    By default a block of some MiB is given back as soon as it is freed, and a step takes it again page by page.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
