"""Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): blocks whose maps the backward pass computes again.

A block's forward pass keeps its input alone, which costs about one more forward pass for each backward one. What it
computes again is what it computed: from the buffers that it started from (spectral norm's vectors; batch norm's
statistics count a batch once), the same weights, random numbers, autocast and replaced functions. So values, gradients,
second derivatives and buffers are equal, bit for bit on a CPU.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint


def _checkpoint(forward: Any, block: nn.Module, *inputs: Any) -> Any:
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))


class Checkpointed(nn.Module):
    """A block that `use_checkpoints` makes keep its input alone, in training and where gradients are taken."""

    checkpointing: bool = False
    _checkpoint: ClassVar[Callable[..., Any]] = staticmethod(_checkpoint)

    def __call__(self, *inputs: Any) -> Any:
        """`forward`, whose activations are computed again in the backward pass."""
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return super().__call__(*inputs)
        return self._checkpoint(super().__call__, self, *inputs)


def use_checkpoints(network: nn.Module, checkpointing: bool) -> None:
    """Let all blocks of a network that can keep their inputs alone do so, or all of them keep all."""
    if checkpointing:  # not where this is imported: it takes PyTorch's compiler, a second to import
        Checkpointed._checkpoint = staticmethod(torch.compiler.disable(_checkpoint))
    for block in network.modules():
        if isinstance(block, Checkpointed):
            block.checkpointing = checkpointing


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Nothing in the forward pass; in those that repeat it, all as it is now, at its start."""
    return nullcontext(), _Again(block)


class _Again(AbstractContextManager[None]):
    """The block's weights by reference, buffers by value and replaced functions of the moment that this was made.

    It can be entered at each of several backward passes. Nothing is written to the tensors in between, which other
    graphs may hold: they change places with copies.
    """

    def __init__(self, block: nn.Module) -> None:
        layers = list(block.modules())
        self.weights = [(layer._parameters, dict(layer._parameters)) for layer in layers]
        self.buffers = [(layer._buffers, _clones(layer._buffers)) for layer in layers]
        self.modes = _get_current_function_mode_stack()

    def __enter__(self) -> None:
        then: list[tuple[Any, Any]] = [*self.weights, *((home, _clones(values)) for home, values in self.buffers)]
        self.now = [(home, dict(home)) for home, _ in then]
        self.active = ExitStack()
        present = _get_current_function_mode_stack()
        for mode in self.modes:
            if mode not in present:
                self.active.enter_context(mode)
        for home, values in then:
            home.update(values)

    def __exit__(self, *error: object) -> None:
        for home, values in self.now:
            home.update(values)
        self.active.close()


def _clones(tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if tensor is None else tensor.detach().clone() for name, tensor in tensors.items()}
