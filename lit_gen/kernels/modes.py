"""What a block of code takes in place of PyTorch's functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from lit_gen.kernels._functions import AveragePool, Cast, Convolution, LeakyReLU, transforming
from lit_gen.kernels.forms import Settings, layout

Own = Callable[..., Any]
ENOUGH_FOR_A_CALL = 1 << 14  # numbers of an image's maps


class Replacing(TorchFunctionMode):
    """Within, the functions in `own` are this project's, as long as these take their arguments.

    Under `torch.func` and forward-mode differentiation they are PyTorch's.
    """

    own: ClassVar[dict[Any, Own]]

    def __init__(self) -> None:
        super().__init__()
        self._casts: dict[tuple[int, torch.dtype], tuple[Tensor, int, Tensor]] = {}

    def cast(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """A weight as autocast takes it, converted once for all of its uses in the block; gradients one by one."""
        if not weight.is_leaf or weight.dtype == dtype:
            return weight.to(dtype)
        origin, version, copy = self._casts.get(key := (id(weight), dtype), (None, 0, weight))
        if origin is not weight or version != weight._version:
            copy = weight.detach().to(dtype)
            self._casts[key] = weight, weight._version, copy
        return Cast.of(weight, copy)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace the function, or call it."""
        kwargs = kwargs or {}
        own = self.own.get(func)
        result = NotImplemented if own is None or transforming() else own(self, *args, **kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result


def conv2d(
    mode: Replacing,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: Any = 0,
) -> Any:
    """`F.conv2d`, or `F.conv_transpose2d`, but for a padding by name and for single images."""
    if isinstance(padding, str) or input.ndim != 4:
        return NotImplemented
    device = input.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        input, weight = input.to(dtype), mode.cast(weight, dtype)
        bias = None if bias is None else mode.cast(bias, dtype)
    stride, padding, dilation, output_padding = map(_pair, (stride, padding, dilation, output_padding))
    settings = Settings(stride, padding, dilation, transposed, output_padding, groups)
    return Convolution.apply(input, weight, bias, settings, mode)


def conv_transpose2d(
    mode: Replacing,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """`F.conv_transpose2d`."""
    return conv2d(mode, input, weight, bias, stride, padding, dilation, groups, True, output_padding)


def relu(mode: Replacing, input: Tensor, inplace: bool = False) -> Any:
    """`F.relu`, not in place."""
    return leaky_relu(mode, input, 0.0, inplace)


def leaky_relu(mode: Replacing, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """`F.leaky_relu`, not in place and not of a negative slope."""
    return NotImplemented if inplace or negative_slope < 0 else LeakyReLU.apply(input, negative_slope)


def avg_pool2d(
    mode: Replacing,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """`F.avg_pool2d`."""
    pairs = map(_pair, (kernel_size, kernel_size if stride is None else stride, padding))
    return AveragePool.apply(input, (*pairs, ceil_mode, count_include_pad, divisor_override))


def instance_norm(
    _: Replacing,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """`F.instance_norm`, of maps whose layout it keeps, in its gradients too: batch norm of each image by itself.

    PyTorch's is batch norm of a batch's channels as those of one image, for which channels must come first. Several
    small maps are left to it, where a call for each image costs more than copies of all. One image isn't, whose
    gradient is wrong there if it comes with channels innermost (seen in 2.14.1).
    """
    statistics = running_mean is None and use_input_stats
    if not statistics or input.ndim != 4 or (len(input) > 1 and not worth_calls(input)):
        y = F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
        return y.contiguous(memory_format=layout(input))
    images = [F.batch_norm(image, None, None, weight, bias, True, momentum, eps) for image in input.split(1)]
    return images[0] if len(images) == 1 else torch.cat(images)


def worth_calls(x: Tensor) -> bool:
    """Whether each image of a batch is large enough for calls of its own, and has its channels innermost."""
    return layout(x) is torch.channels_last and len(x) > 0 and x[0].numel() >= ENOUGH_FOR_A_CALL


def pad(_: Replacing, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """`F.pad`, which copies and needs no float32 for it."""
    with torch.autocast(input.device.type, enabled=False):
        return F.pad(input, *args, **kwargs)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


CONVOLUTIONS: dict[Any, Own] = {torch.conv2d: conv2d, torch.conv_transpose2d: conv_transpose2d}
ACTIVATIONS: dict[Any, Own] = {torch.relu: relu, F.relu: relu, F.leaky_relu: leaky_relu}


def differentiable_attention() -> AbstractContextManager[None]:
    """Within, `F.scaled_dot_product_attention` is made of functions that have second derivatives, on any device.

    PyTorch's faster forms of it have a first one alone, and stop at a second.
    """
    return sdpa_kernel(SDPBackend.MATH)


class FastConvolutions(Replacing):
    """Within, a CPU computes convolutions and their gradients in the forms of `lit_gen.kernels.forms`.

    Maps and gradients keep their layout, channels first or last, through activations, instance norm and padding,
    as an activation whose gradient is laid out otherwise takes ten times as long.
    """

    own: ClassVar = {**CONVOLUTIONS, **ACTIVATIONS, F.instance_norm: instance_norm, F.pad: pad}


class DirectDoubleBackward(Replacing):
    """Second derivatives of piecewise linear networks that cost no more than they must, for gradient penalties.

    PyTorch takes the weight's gradient in a convolution's double backward by a convolution with a whole map as its
    kernel, and sends zeros back through the whole network for each ReLU and each average pool, whose second derivative
    in their input vanishes. Here all derivatives of a convolution are convolutions, transposed ones and weight
    gradients, and what vanishes is not computed: four passes over a network in place of six.

    Values and gradients are those of PyTorch's own up to rounding, under autocast too. What has other arguments than
    these functions take (a padding by name, an operation in place), and every other function, stays PyTorch's.
    """

    own: ClassVar = {**CONVOLUTIONS, **ACTIVATIONS, F.avg_pool2d: avg_pool2d}

    def __init__(self) -> None:
        super().__init__()
        self.skip_weights = False

    def input_gradient(self, output: Tensor, x: Tensor) -> Tensor:
        """∂output/∂x with a graph, and without the weights' gradients, which nobody asks for.

        A Python function's `needs_input_grad` doesn't say which gradients are asked for.
        """
        self.skip_weights = True
        try:
            (gradient,) = torch.autograd.grad(output, x, create_graph=True)
        finally:
            self.skip_weights = False
        return gradient
