"""Several processes, one model: what the update step sends between them, and which strategies it suits."""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import lightning.pytorch as L
import torch
from lightning.pytorch.plugins.layer_sync import LayerSync, TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor, nn

from lit_gen.distributions import ExPostMixture
from lit_gen.training.sync_batch_norm import SynchronisedBatchNorm, localise, synchronise

# What errors say whose cause is that another process doesn't answer.
LOST = re.compile(
    r"gloo|NCCL|TCPStore|ProcessGroup|[Cc]onnection (closed|reset|refused)|Broken pipe|recvValue|sendBytes"
)


class BatchNormSync(LayerSync):
    """What ``Trainer(sync_batchnorm=True)`` means here."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Let all batch norm layers see the batches of all processes."""
        return synchronise(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """Let them see their own process' again."""
        return localise(model)


def prepare(trainer: L.Trainer) -> None:
    """Suit the strategy to the update step.

    Raises:
        ValueError: for a strategy or a precision that the update step can't do.
    """
    strategy, precision = trainer.strategy, trainer.precision
    if not isinstance(strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise ValueError(
            f"strategy={type(strategy).__name__}: one device or 'ddp' is supported; sharded weights are there only "
            "within a forward pass, but penalties differentiate the discriminator outside of one, players are frozen "
            "in turn, and weights are averaged and clipped"
        )
    if precision in ("bf16-true", "16-true", "transformer-engine", "transformer-engine-float16"):
        raise ValueError(
            f"precision={precision}: averages and small updates vanish in 16-bit weights; take bf16-mixed, "
            "16-mixed, 32-true or 64-true"
        )
    if isinstance(strategy, DDPStrategy) and isinstance(strategy._layer_sync, TorchSyncBatchNorm):
        strategy._layer_sync = BatchNormSync()


def without_synchronisation(strategy: Strategy) -> AbstractContextManager[None]:
    """Backward passes within send nothing: DDP would send all players' gradients and refuse the idle ones'."""
    return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else nullcontext()


def running_statistics(networks: Iterable[nn.Module]) -> list[Tensor]:
    """The buffers that processes move apart by their own batches: batch norm's, for one."""
    layers = [layer for network in networks for layer in network.modules()]
    return [
        buffer
        for layer in layers
        if not isinstance(layer, (SynchronisedBatchNorm, nn.SyncBatchNorm, ExPostMixture))  # see everyone's batches
        for name, buffer in layer.named_buffers(recurse=False)
        if buffer.is_floating_point() and name not in layer._non_persistent_buffers_set
    ]


def average_over_processes(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in one message per data type. A collective."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for same in by_type.values():
        message = torch.cat([tensor.flatten() for tensor in same])
        torch.distributed.all_reduce(message)
        message /= torch.distributed.get_world_size()
        for tensor, part in zip(same, message.split([tensor.numel() for tensor in same]), strict=True):
            tensor.copy_(part.view_as(tensor))


def is_lost(error: BaseException | None) -> bool:
    """Whether an error says that another process doesn't answer any more."""
    while error is not None:
        if isinstance(error, RuntimeError) and LOST.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
