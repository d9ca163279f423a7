"""Convolutions, activations and their derivatives in the forms that are computed fastest.

Values are PyTorch's up to rounding. `FastConvolutions` is for training on a CPU, `DirectDoubleBackward` for gradient
penalties on any device.
"""

from lit_gen.kernels.modes import DirectDoubleBackward, FastConvolutions

__all__ = ["DirectDoubleBackward", "FastConvolutions"]
