"""Batch norm over the batches of all processes, on any device."""

from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.networks.layers import BATCH_NORMS
from lit_gen.precision import float32_or_better


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """torch's SyncBatchNorm, and the same in plain operations on the CPU, where torch's refuses to train.

    An existing layer becomes one by a change of its class: parameters, buffers and their names stay as they are.
    It isn't torch's class, which DistributedDataParallel refuses on the CPU, but lends its methods.
    """

    process_group = None
    local: type[nn.Module]  # the class that the layer had
    _check_input_dim = nn.SyncBatchNorm._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, *)`` by the statistics of all processes' batches, in eval mode by the running ones."""
        # Whether other processes are waiting is torch.distributed's to say: without them torch's layer is a local one.
        if x.device.type != "cpu" or not self.training or not torch.distributed.is_initialized():
            return nn.SyncBatchNorm.forward(self, x)  # type: ignore[arg-type]
        mean, variance, count = moments(x)
        if self.track_running_stats:
            self.follow(mean.detach(), variance.detach() * (count / (count - 1)))
        shape = (-1, *[1] * (x.ndim - 2))
        scale = (variance + self.eps).rsqrt()
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        return torch.addcmul(shift.reshape(shape), x, scale.reshape(shape)).to(x.dtype)

    @torch.no_grad()
    def follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; without a momentum they are the plain mean over all batches."""
        count: Any = self.num_batches_tracked
        count.add_(1)
        weight = 1 / count.item() if self.momentum is None else self.momentum
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.lerp_(value.to(running.dtype), weight)


@float32_or_better
def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance ``(C,)`` of the ``(N, C, *)`` of all processes, and their number of values a channel.

    Each sends its mean and its centred squares, which lose no digits where the mean is large (Chan et al. 1983).
    """
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    dims = [0, *range(2, x.ndim)]
    variance, mean = torch.var_mean(x, dims, correction=0)
    own = torch.cat([mean, variance, mean.new_full((1,), x.numel() / len(mean))])
    rows = torch.zeros(processes, len(own), dtype=own.dtype, device=own.device)
    rows = SumOverProcesses.apply(rows.index_put((torch.tensor(rank),), own))
    means, variances, counts = rows.split([len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    shares = counts / total
    overall = (shares * means).sum(0)
    return overall, (shares * (variances + (means - overall).square())).sum(0), total


class SumOverProcesses(torch.autograd.Function):
    """The sum of all processes' tensors, whose gradient is the sum of their gradients. A collective, both ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Sum, into a new tensor."""
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Every process' loss depends on every process' summand."""
        return SumOverProcesses.apply(gradients[0].contiguous())


def synchronise(model: nn.Module) -> nn.Module:
    """Let all batch norm layers see the batches of all processes: they change their class."""
    for layer in model.modules():
        if isinstance(layer, BATCH_NORMS) and not isinstance(layer, (SynchronisedBatchNorm, nn.SyncBatchNorm)):
            layer.local, layer.__class__ = type(layer), SynchronisedBatchNorm  # type: ignore[assignment]
    return model


def localise(model: nn.Module) -> nn.Module:
    """Let them see their own process' again: they get their class back."""
    for layer in model.modules():
        if isinstance(layer, SynchronisedBatchNorm):
            layer.__class__ = layer.local  # type: ignore[assignment]
    return model
