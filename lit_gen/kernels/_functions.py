"""Convolutions and piecewise linear functions whose derivatives, of any order, are functions of this file.

All are linear in each argument or piecewise so, hence what vanishes in a second derivative is not computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional as F

from lit_gen.kernels import choice, forms
from lit_gen.kernels.forms import Settings, layout

aten = torch.ops.aten


def transforming() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work, which take none of these functions."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class OwnFunction(Function):
    """A function that a backward pass takes, by itself or, where `torch.func` maps that pass, as PyTorch's own."""

    @staticmethod
    def plain(*args: Any) -> Tensor:
        """The same by PyTorch's functions, with their derivatives."""
        raise NotImplementedError

    @classmethod
    def of(cls, *args: Any) -> Tensor:
        """The function's value."""
        # `is_grads_batched`, and with it vectorised Jacobians, map a backward pass by an older kind of batch.
        mapped = any(isinstance(arg, Tensor) and torch._C._functorch.is_legacy_batchedtensor(arg) for arg in args[:2])
        return cls.plain(*args) if mapped or transforming() else cls.apply(*args)


class Cast(OwnFunction):
    """A weight in another precision, of which there is a copy."""

    @staticmethod
    def plain(weight: Tensor, copy: Tensor) -> Tensor:
        return weight.to(copy.dtype)

    @staticmethod
    def forward(ctx: Any, weight: Tensor, copy: Tensor) -> Tensor:
        ctx.dtype = weight.dtype
        return copy.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g.to(ctx.dtype), None


class Convolution(OwnFunction):
    """w * x + b, `transposed` or not: linear in x and in w, as are all that follow."""

    @staticmethod
    def plain(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
        return torch.convolution(x, weight, bias, *settings)

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, mode: Any = None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)  # as given: a copy in another layout has no graph to x
        ctx.settings, ctx.mode = settings, mode
        x = x.contiguous(memory_format=layout(weight)) if min(weight.shape[2:]) > 1 else x
        return choice.convolution(x, weight, bias, settings)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = (needed and g is not None for needed in ctx.needs_input_grad[:3])
        if getattr(ctx.mode, "skip_weights", False):
            of_weight = of_bias = False
        return (
            InputGradient.of(g, weight, x.shape, ctx.settings) if of_x else None,
            WeightGradient.of(g, x, weight.shape, ctx.settings) if of_weight else None,
            g.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


class InputGradient(OwnFunction):
    """∂⟨g, w * x⟩/∂x."""

    @staticmethod
    def plain(g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        x, wanted = forms.of_shape(shape, weight), [True, False, False]
        return aten.convolution_backward(g, x, weight, None, *settings, wanted)[0]

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.settings = settings
        return choice.input_gradient(g, weight, shape, settings)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        of_g, of_weight = ctx.needs_input_grad[:2]
        return (
            Convolution.of(h, weight, None, ctx.settings) if of_g else None,
            WeightGradient.of(g, h, weight.shape, ctx.settings) if of_weight else None,
            None,
            None,
        )


class WeightGradient(OwnFunction):
    """∂⟨g, w * x⟩/∂w."""

    @staticmethod
    def plain(g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        weight, wanted = forms.of_shape(shape, x), [False, True, False]
        return aten.convolution_backward(g, x, weight, None, *settings, wanted)[1]

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.settings = settings
        return choice.weight_gradient(g, x, shape, settings)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        of_g, of_x = ctx.needs_input_grad[:2]
        return (
            Convolution.of(x, h, None, ctx.settings) if of_g else None,
            InputGradient.of(g, h, x.shape, ctx.settings) if of_x else None,
            None,
            None,
        )


class LeakyReLU(Function):
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
        return Slope.of(g, y.detach(), ctx.slope), None


class Slope(OwnFunction):
    """g where y > 0, slope g elsewhere: constant in y but for the kink."""

    @staticmethod
    def plain(g: Tensor, y: Tensor, slope: float) -> Tensor:
        return aten.leaky_relu_backward(g, y, slope, False) if slope else aten.threshold_backward(g, y, 0)

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        g = g.contiguous(memory_format=layout(y)) if y.ndim == 4 else g
        return aten.leaky_relu_backward(g, y, slope, False) if slope else aten.threshold_backward(g, y, 0)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return Slope.of(h, y, ctx.slope), None, None


class AveragePool(OwnFunction):
    """Means over windows: linear."""

    @staticmethod
    def plain(x: Tensor, window: tuple[Any, ...]) -> Tensor:
        return aten.avg_pool2d(x, *window)

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[Any, ...]) -> Tensor:
        ctx.shape, ctx.window = x.shape, window
        return aten.avg_pool2d(x, *window)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return Spread.of(g, ctx.shape, ctx.window), None


class Spread(OwnFunction):
    """The transposed map of the means."""

    @staticmethod
    def plain(g: Tensor, shape: torch.Size, window: tuple[Any, ...]) -> Tensor:
        return aten.avg_pool2d_backward(g, forms.of_shape(shape, g), *window)

    @staticmethod
    def forward(ctx: Any, g: Tensor, shape: torch.Size, window: tuple[Any, ...]) -> Tensor:
        ctx.window = window
        # Its result is laid out as the stand-in is.
        return aten.avg_pool2d_backward(g, forms.untouched(shape, g, layout(g)), *window)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, None, None]:
        return AveragePool.of(h, ctx.window), None, None
