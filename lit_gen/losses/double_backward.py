"""Second derivatives of piecewise linear networks that cost no more than they must, for gradient penalties.

PyTorch takes the weight's gradient in a convolution's double backward by a convolution with a whole map as its
kernel, and sends zeros back through the whole network for each ReLU and each average pool, whose second derivative in
their input vanishes. Here all derivatives of a convolution are convolutions, transposed ones and weight gradients, and
what vanishes is not computed: four passes over a network in place of six.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Settings = tuple[Any, ...]  # stride, padding, dilation, transposed, output_padding, groups
aten = torch.ops.aten


class DirectDoubleBackward(TorchFunctionMode):
    """Within, `conv2d`, `conv_transpose2d`, `relu`, `leaky_relu` and `avg_pool2d` have these derivatives.

    Values and gradients are those of PyTorch's own up to rounding, under autocast too. What has other arguments than
    these (a padding by name, an operation in place), and every other function, stays PyTorch's.
    """

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

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace the functions above."""
        kwargs = kwargs or {}
        own = OWN.get(func)
        result = NotImplemented if own is None else own(self, *args, **kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result


def _of_shape(shape: torch.Size, like: Tensor) -> Tensor:
    """A stand-in for a tensor of which a backward formula reads only the shape: without memory of its own."""
    return like.new_empty(()).expand(shape)


class _Convolution(Function):
    """w * x + b, `transposed` or not: linear in x and in w, as are all that follow."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, mode: DirectDoubleBackward | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings, ctx.mode = settings, mode
        return torch.convolution(x, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = (needed and g is not None for needed in ctx.needs_input_grad[:3])
        if ctx.mode is not None and ctx.mode.skip_weights:
            of_weight = of_bias = False
        return (
            _InputGradient.apply(g, weight, x.shape, ctx.settings) if of_x else None,
            _WeightGradient.apply(g, x, weight.shape, ctx.settings) if of_weight else None,
            g.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


class _InputGradient(Function):
    """∂⟨g, w * x⟩/∂x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.settings = settings
        x = _of_shape(shape, like=g)
        return aten.convolution_backward(g, x, weight, None, *settings, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        of_g, of_weight = ctx.needs_input_grad[:2]
        return (
            _Convolution.apply(h, weight, None, ctx.settings, None) if of_g else None,
            _WeightGradient.apply(g, h, weight.shape, ctx.settings) if of_weight else None,
            None,
            None,
        )


class _WeightGradient(Function):
    """∂⟨g, w * x⟩/∂w."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.settings = settings
        weight = _of_shape(shape, like=g)
        return aten.convolution_backward(g, x, weight, None, *settings, [False, True, False])[1]

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        of_g, of_x = ctx.needs_input_grad[:2]
        return (
            _Convolution.apply(x, h, None, ctx.settings, None) if of_g else None,
            _InputGradient.apply(g, h, x.shape, ctx.settings) if of_x else None,
            None,
            None,
        )


class _LeakyReLU(Function):
    """max(x, slope x), slope 0 for the ReLU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = F.leaky_relu(x, slope) if slope else F.relu(x)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return _Slope.apply(g, y.detach(), ctx.slope), None


class _Slope(Function):
    """g where y > 0, slope g elsewhere: constant in y but for the kink."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return aten.leaky_relu_backward(g, y, slope, False) if slope else aten.threshold_backward(g, y, 0)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return _Slope.apply(h, y, ctx.slope), None, None


class _AveragePool(Function):
    """Means over windows: linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Settings) -> Tensor:
        ctx.shape, ctx.window = x.shape, window
        return aten.avg_pool2d(x, *window)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _Spread.apply(g, ctx.shape, ctx.window), None


class _Spread(Function):
    """The transposed map of the means."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, shape: torch.Size, window: Settings) -> Tensor:
        ctx.window = window
        return aten.avg_pool2d_backward(g, _of_shape(shape, like=g), *window)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, None, None]:
        return _AveragePool.apply(h, ctx.window), None, None


def _conv2d(
    mode: DirectDoubleBackward,
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
    if isinstance(padding, str) or input.ndim != 4:
        return NotImplemented
    device = input.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    pairs = ([v, v] if isinstance(v, int) else list(v) for v in (stride, padding, dilation, output_padding))
    stride, padding, dilation, output_padding = pairs
    settings = stride, padding, dilation, transposed, output_padding, groups
    return _Convolution.apply(input, weight, bias, settings, mode)


def _conv_transpose2d(
    mode: DirectDoubleBackward,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    return _conv2d(mode, input, weight, bias, stride, padding, dilation, groups, True, output_padding)


def _relu(mode: DirectDoubleBackward, input: Tensor, inplace: bool = False) -> Any:
    return NotImplemented if inplace else _LeakyReLU.apply(input, 0.0)


def _leaky_relu(mode: DirectDoubleBackward, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return NotImplemented if inplace or negative_slope < 0 else _LeakyReLU.apply(input, negative_slope)


def _avg_pool2d(
    mode: DirectDoubleBackward,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    stride = kernel_size if stride is None else stride
    pairs = ([v, v] if isinstance(v, int) else list(v) for v in (kernel_size, stride, padding))
    return _AveragePool.apply(input, (*pairs, ceil_mode, count_include_pad, divisor_override))


OWN: dict[Any, Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
    torch.relu: _relu,
    F.relu: _relu,
    F.leaky_relu: _leaky_relu,
    F.avg_pool2d: _avg_pool2d,
}
