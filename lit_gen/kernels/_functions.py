"""Convolutions and piecewise linear functions whose derivatives, of any order, are functions of this file.

All are linear in each argument or piecewise so, hence what vanishes in a second derivative is not computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from lit_gen.kernels import forms
from lit_gen.kernels.forms import Settings, layout

aten = torch.ops.aten


class Convolution(Function):
    """w * x + b, `transposed` or not: linear in x and in w, as are all that follow."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, mode: Any = None
    ) -> Tensor:
        x = x.contiguous(memory_format=layout(weight)) if min(weight.shape[2:]) > 1 else x
        ctx.save_for_backward(x, weight)
        ctx.settings, ctx.mode = settings, mode
        return forms.convolution(x, weight, bias, settings)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = (needed and g is not None for needed in ctx.needs_input_grad[:3])
        if getattr(ctx.mode, "skip_weights", False):
            of_weight = of_bias = False
        return (
            InputGradient.apply(g, weight, x.shape, ctx.settings) if of_x else None,
            WeightGradient.apply(g, x, weight.shape, ctx.settings) if of_weight else None,
            g.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


class InputGradient(Function):
    """∂⟨g, w * x⟩/∂x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.settings = settings
        return forms.input_gradient(g, weight, shape, settings)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        of_g, of_weight = ctx.needs_input_grad[:2]
        return (
            Convolution.apply(h, weight, None, ctx.settings) if of_g else None,
            WeightGradient.apply(g, h, weight.shape, ctx.settings) if of_weight else None,
            None,
            None,
        )


class WeightGradient(Function):
    """∂⟨g, w * x⟩/∂w."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, shape: torch.Size, settings: Settings) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.settings = settings
        return forms.weight_gradient(g, x, shape, settings)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        of_g, of_x = ctx.needs_input_grad[:2]
        return (
            Convolution.apply(x, h, None, ctx.settings) if of_g else None,
            InputGradient.apply(g, h, x.shape, ctx.settings) if of_x else None,
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
        return Slope.apply(g, y.detach(), ctx.slope), None


class Slope(Function):
    """g where y > 0, slope g elsewhere: constant in y but for the kink."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        g = g.contiguous(memory_format=layout(y)) if y.ndim == 4 else g
        return aten.leaky_relu_backward(g, y, slope, False) if slope else aten.threshold_backward(g, y, 0)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return Slope.apply(h, y, ctx.slope), None, None


class AveragePool(Function):
    """Means over windows: linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[Any, ...]) -> Tensor:
        ctx.shape, ctx.window = x.shape, window
        return aten.avg_pool2d(x, *window)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return Spread.apply(g, ctx.shape, ctx.window), None


class Spread(Function):
    """The transposed map of the means."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, shape: torch.Size, window: tuple[Any, ...]) -> Tensor:
        ctx.window = window
        return aten.avg_pool2d_backward(g, forms.of_shape(shape, g), *window)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, None, None]:
        return AveragePool.apply(h, ctx.window), None, None
