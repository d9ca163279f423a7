"""How the networks are laid out in memory and run."""

from typing import Any

import lightning.pytorch as L
import torch

from lit_gen.modules.base import GenerativeModule


class Speed(L.Callback):
    """Ways to run a module's networks faster that change no value but by rounding, nor any name in a checkpoint.

    Args:
        channels_last: Lay convolutions' weights, and with them the maps, out with the channels innermost: faster for
            wide residual networks, and on a GPU with tensor cores.
        compile: Compile the networks by `torch.compile` at their first use, which takes a minute or more. Penalties
            run without it, as compiled networks have no second derivatives.
    """

    def __init__(self, channels_last: bool = False, compile: bool = False) -> None:
        self.channels_last, self.compile = channels_last, compile

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before the optimizers are made and a checkpoint is read."""
        if self.channels_last:
            arguments: Any = {"memory_format": torch.channels_last}
            pl_module.to(**arguments)
        if self.compile and isinstance(pl_module, GenerativeModule):
            for player in pl_module._players:
                for name in player.networks:
                    pl_module.get_submodule(name).compile()
