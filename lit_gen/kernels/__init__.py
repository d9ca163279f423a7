"""Convolutions, activations and their derivatives in the forms that are computed fastest, and as they ought to be.

Values are PyTorch's up to rounding. `FastConvolutions` is for training on a CPU, `DirectDoubleBackward` and
`differentiable_attention` for gradient penalties on any device. `guard_convolutions` keeps bfloat16 convolutions right
on processors where PyTorch's are not, `measure_forms` lets each machine find its own fastest forms, `fast_products`
multiplies float32 matrices by another library than PyTorch's, and `load_constants` keeps logarithms from being slow.
"""

from lit_gen.kernels.constants import load_constants
from lit_gen.kernels.guard import guard_convolutions, guard_short
from lit_gen.kernels.measured import measure_forms
from lit_gen.kernels.modes import DirectDoubleBackward, FastConvolutions, differentiable_attention
from lit_gen.kernels.products import fast_products

__all__ = [
    "DirectDoubleBackward",
    "FastConvolutions",
    "differentiable_attention",
    "fast_products",
    "guard_convolutions",
    "guard_short",
    "load_constants",
    "measure_forms",
]
