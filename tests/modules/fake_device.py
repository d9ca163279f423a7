"""A second device without float64, as Apple's GPUs are: it computes on the CPU, but refuses what those refuse."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lit_gen import precision

DEVICE = torch.device("meta")  # the name of one that needs no driver


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Within, tensors can be moved to the device; float64 there, and a mixture of devices, raise."""
    known, precision.WITHOUT_FLOAT64 = precision.WITHOUT_FLOAT64, (DEVICE.type,)
    try:
        with _Dispatch():
            yield DEVICE
    finally:
        precision.WITHOUT_FLOAT64 = known


class _There(torch.Tensor):
    """A tensor on the device, by one on the CPU."""

    @staticmethod
    def __new__(cls, inner):
        like = {"strides": inner.stride(), "dtype": inner.dtype, "device": DEVICE}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), **like)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _run(function, args, kwargs):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [isinstance(x, _There) for x in tensors]
    target = kwargs.get("device")
    if target is None and function is not torch.ops.aten.copy_.default:
        assert all(there) or not any(t for t, x in zip(there, tensors, strict=True) if x.ndim) or not any(
            x.ndim for t, x in zip(there, tensors, strict=True) if not t
        ), f"{function}: tensors on two devices"  # fmt: skip
    args, kwargs = tree_map(lambda x: x.inner if isinstance(x, _There) else x, (args, kwargs))
    result = function(*args, **({**kwargs, "device": torch.device("cpu")} if target is not None else kwargs))
    if not (any(there) if target is None else torch.device(target) == DEVICE):
        return result

    def placed(x):
        if not isinstance(x, torch.Tensor):
            return x
        assert x.dtype != torch.float64, f"{function}: float64 is not known here"
        return _There(x)

    return tree_map(placed, result)
