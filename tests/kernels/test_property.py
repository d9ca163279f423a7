"""Whatever a convolution's shapes, settings and layouts: values, first and second derivatives are PyTorch's."""

import random
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lit_gen.kernels import DirectDoubleBackward, FastConvolutions, guard_convolutions
from lit_gen.kernels.trial import relative_error

MODES = {
    "fast": (FastConvolutions,),
    "direct": (DirectDoubleBackward,),
    "both": (FastConvolutions, DirectDoubleBackward),
}


@dataclass
class Draw:
    """A convolution with random settings, followed by an activation or none, and its inputs in float64."""

    function: Any
    options: dict[str, Any]
    activation: Any
    inputs: list[torch.Tensor]

    def __call__(self, *inputs):
        return self.activation(self.function(*inputs, **self.options))


def draw(seed):
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    transposed, groups = chance.random() < 0.4, chance.choice([1, 1, 1, 2, 3])
    into = groups * chance.choice([1, 1, 2, 3, 4, 5, 8, 16, 17])
    out = groups * chance.choice([1, 2, 3, 4, 16, 17])
    square = (chance.choice([1, 2, 3, 3, 4, 4]),) * 2
    kernel = square if chance.random() < 0.5 else (chance.choice([1, 2, 3, 4, 5, 7]), chance.choice([1, 2, 3, 4, 5]))
    options = {
        "stride": chance.choice([1, 1, 2, 2, 3, (1, 2), (2, 1)]),
        "padding": chance.choice([0, 1, 1, 2, 3, (1, 0), (0, 2)]),
        "dilation": chance.choice([1, 1, 1, 2, (1, 2)]),
        "groups": groups,
    }
    if transposed:
        options["output_padding"] = chance.choice([0, 0, 1])
    shape = [chance.choice([0, 1, 2, 3]), into, chance.choice(range(1, 13)), chance.choice([1, 2, 3, 4, 5, 6, 8, 10])]
    x = {
        "channels first": lambda: normal(*shape),
        "channels last": lambda: normal(*shape).to(memory_format=torch.channels_last),
        "columns first": lambda: normal(*shape[:2], shape[3], shape[2]).transpose(2, 3),
        "expanded": lambda: normal(*shape[:2], 1, shape[3]).expand(shape),
    }[chance.choice(["channels first", "channels last", "columns first", "expanded"])]()
    weight = normal(*((into, out // groups) if transposed else (out, into // groups)), *kernel)
    lay_out = chance.choice(["first", "first", "last", "last", "columns"])
    if lay_out == "last":
        weight = weight.to(memory_format=torch.channels_last)
    elif lay_out == "columns":
        weight = weight.transpose(2, 3).contiguous().transpose(2, 3)
    inputs = [x, weight, *([normal(out)] if chance.random() < 0.5 else [])]
    inputs = [tensor.detach().requires_grad_(chance.random() < 0.85) for tensor in inputs]
    activation = chance.choice([lambda y: y, F.relu, lambda y: F.leaky_relu(y, 0.2)])
    return Draw(F.conv_transpose2d if transposed else F.conv2d, options, activation, inputs)


def derivatives(function, inputs):
    """The value, its gradients in a fixed direction, and gradients of a function of these: zero where there is none."""
    generator = torch.Generator().manual_seed(0)

    def direction(tensor):
        return torch.randn(tensor.shape, dtype=torch.float64, generator=generator).to(tensor.dtype)

    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    value = function(*inputs)
    if not wanted:
        return [value]
    first = torch.autograd.grad((value * direction(value)).sum(), wanted, create_graph=True)
    further = sum((g * direction(g)).sum() + g.square().sum() for g in first)
    second = [torch.zeros_like(tensor) for tensor in wanted]
    if further.requires_grad:
        second = torch.autograd.grad(further, wanted, allow_unused=True, materialize_grads=True)
    return [value, *first, *second]


def possible(drawn):
    """Whether PyTorch takes the draw at all: a kernel may be larger than the padded map."""
    try:
        drawn(*drawn.inputs)
    except RuntimeError:
        return False
    return True


def compare(seeds):
    """How many draws were compared with PyTorch's derivatives in float64, for each of the modes."""
    count = 0
    for seed in seeds:
        drawn = draw(seed)
        if not possible(drawn):
            continue
        count += 1
        theirs = derivatives(drawn, drawn.inputs)
        for name, modes in MODES.items():
            with ExitStack() as stack:
                for mode in modes:
                    stack.enter_context(mode())
                ours = derivatives(drawn, drawn.inputs)
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                scale = float(b.detach().abs().max()) if b.numel() else 0.0

                def told(text, seed=seed, name=name, i=i):
                    return f"draw {seed}, {name}, result {i}: {text}"

                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * (1 + scale), msg=told)
    return count


def test_derivatives_are_pytorchs():
    assert compare(range(160)) >= 100


@pytest.mark.slow
def test_derivatives_are_pytorchs_in_a_thousand_draws():
    assert compare(range(1000, 2400)) >= 1000


@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_bfloat16_is_near_the_exact_derivatives():
    """Within 2 % of the norm, on any processor: the guard takes care of what PyTorch computes wrongly.

    Without gaps in the kernel, ragged outputs and borders of more than half a kernel, in which PyTorch's own bfloat16
    kernels may stop the process.
    """
    guard_convolutions("auto")
    count = 0
    for seed in range(240):
        drawn = draw(seed)
        given = drawn.options["padding"]
        pairs = zip(drawn.inputs[1].shape[2:], (given, given) if isinstance(given, int) else given, strict=True)
        drawn.options |= {"dilation": 1, "padding": tuple(min(pad, size // 2) for size, pad in pairs)}
        drawn.options.pop("output_padding", None)
        drawn.activation = lambda y: y  # no kinks, on whose two sides a rounding can fall
        rounded = [tensor.detach().bfloat16().requires_grad_(tensor.requires_grad) for tensor in drawn.inputs]
        drawn.inputs = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in rounded]
        if not possible(drawn):
            continue
        count += 1
        exact = derivatives(drawn, drawn.inputs)
        for name, modes in MODES.items():
            with ExitStack() as stack:
                for mode in modes:
                    stack.enter_context(mode())
                ours = derivatives(drawn, rounded)
            for i, (a, b) in enumerate(zip(ours, exact, strict=True)):
                assert a.numel() == 0 or relative_error(a.detach(), b.detach()) < 0.02, (seed, name, i)
    assert count >= 150
