"""Parts that the networks share: norm layers, weight initialisers, the Gaussian head of an encoder."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from lit_gen.distributions.gaussian import bound_log_scale
from lit_gen.networks.minibatch import BATCH_COMPARISONS

Norm = Literal["batch", "layer", "instance", "none"]
"""The name of a normalisation."""
M = TypeVar("M", bound=nn.Module)

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)  # of any dimension, on its own or across processes
LINEAR_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Labelled(nn.Module):
    """A layer that takes the labels `(N,)`, or None, beside its input."""


class ConditionalBatchNorm(Labelled):
    """Batch norm with a gain and a bias a class (de Vries et al. 2017, arXiv:1707.00683; arXiv:1610.07629).

    The statistics are those of the whole batch, whatever its classes. Gains begin at 1, biases at 0.

    Args:
        norm: `nn.BatchNorm1d` or `nn.BatchNorm2d`, without gain and bias of its own.
        num_classes: number of classes.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, num_classes: int):
        super().__init__()
        self.norm = norm
        self.gain = nn.Embedding(num_classes, norm.num_features)
        self.bias = nn.Embedding(num_classes, norm.num_features)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Normalise `(N, C, *)` and scale by the labels' gains and biases."""
        gain, bias = (layer(labels).reshape(*x.shape[:2], *[1] * (x.ndim - 2)) for layer in (self.gain, self.bias))
        return torch.addcmul(bias, self.norm(x), gain).to(x.dtype)


class InstanceNorm2d(nn.InstanceNorm2d):
    """PyTorch's, with the right gradient of a single image too.

    Given a gradient with channels innermost, as convolutions laid out so return it, PyTorch takes numbers of other
    channels and pixels for those of one (seen in 2.14.1, at a batch of one): the gradient is that of no function.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `(N, C, H, W)`."""
        y = super().forward(input)
        # An exported graph must not ask for the number of images, or it holds for that number alone.
        if y.requires_grad and not torch.compiler.is_compiling() and len(y) == 1 and y.is_contiguous():
            y.register_hook(Tensor.contiguous)
        return y


def norm_2d(norm: Norm, channels: int, num_classes: int = 0) -> nn.Module:
    """Norm layer for feature maps `(N, C, H, W)`, with a learned gain and bias a channel.

    "batch" is over the batch and positions, "layer" over a sample's channels and positions (as in WGAN-GP's
    critics), "instance" over a sample's positions, "none" the identity. With classes, "batch" has a gain and a
    bias for each.

    Raises:
        ValueError: for another name.
    """
    match norm:
        case "batch":
            return _batch_norm(nn.BatchNorm2d, channels, num_classes)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "instance":
            return InstanceNorm2d(channels, affine=True)
        case "none":
            return nn.Identity()
    raise ValueError(f"norm={norm!r}: feature maps take 'batch', 'layer', 'instance' or 'none'")


def norm_1d(norm: Norm, features: int, num_classes: int = 0) -> nn.Module:
    """Norm layer for vectors `(N, D)`: "batch", "layer" or "none"; a vector has no positions for "instance".

    With classes, "batch" has a gain and a bias for each.

    Raises:
        ValueError: for another name.
    """
    match norm:
        case "batch":
            return _batch_norm(nn.BatchNorm1d, features, num_classes)
        case "layer":
            return nn.LayerNorm(features)
        case "none":
            return nn.Identity()
    raise ValueError(f"norm={norm!r}: vectors take 'batch', 'layer' or 'none'")


def _batch_norm(kind: type[nn.BatchNorm1d | nn.BatchNorm2d], features: int, num_classes: int) -> nn.Module:
    if num_classes:
        return ConditionalBatchNorm(kind(features, affine=False), num_classes)
    return kind(features)


def batch_norm_layers(module: nn.Module) -> list[str]:
    """Names of the batch norm layers of `module`."""
    return [name for name, layer in module.named_modules() if isinstance(layer, BATCH_NORMS)]


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any layer of `module` is batch norm."""
    return bool(batch_norm_layers(module))


def batch_comparisons(module: nn.Module) -> list[str]:
    """Names of the layers of `module` that compare the samples of a batch."""
    return [name for name, layer in module.named_modules() if isinstance(layer, BATCH_COMPARISONS)]


def couples_batch(module: nn.Module) -> bool:
    """Whether a sample's output depends on the rest of its batch: real and fake ones then need two passes."""
    return any(isinstance(layer, (*BATCH_NORMS, *BATCH_COMPARISONS)) for layer in module.modules())


def init_dcgan(network: nn.Module) -> None:
    """Weights N(0, 0.02²), batch norm's gains N(1, 0.02²), biases zero (DCGAN, arXiv:1511.06434, sec. 4)."""
    for layer in network.modules():
        if isinstance(layer, LINEAR_LAYERS):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, BATCH_NORMS) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def init_he(layer: M) -> M:
    """Weights of a layer in front of a ReLU: uniform of variance 4/(fan_in + fan_out), biases zero.

    He et al. 2015 (arXiv:1502.01852) with the mean of both fans, as in WGAN-GP's residual networks
    (arXiv:1704.00028).
    """
    return _init_uniform(layer, gain=math.sqrt(2))


def init_glorot(layer: M) -> M:
    """Weights of other layers: uniform of variance 2/(fan_in + fan_out), biases zero (Glorot & Bengio)."""
    return _init_uniform(layer, gain=1.0)


def _init_uniform(layer: M, gain: float) -> M:
    for name, parameter in layer.named_parameters():
        if name == "bias":
            nn.init.zeros_(parameter)
        else:
            nn.init.xavier_uniform_(parameter, gain)
    return layer


def split_gaussian(output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and bounded log σ, each `(N, D)`, of an encoder's last layer `(N, 2D)`."""
    mean, raw = output.chunk(2, dim=1)
    return mean, bound_log_scale(raw)
