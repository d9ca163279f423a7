"""A second device without float64, as Apple's GPUs are: it computes on the CPU, but refuses what those refuse."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import lightning.pytorch as L
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lit_gen import precision
from lit_gen.modules import base
from lit_gen.training.randomness import Randomness, seed_global

DEVICE = torch.device("meta")  # the name of one that needs no driver


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Within, tensors can be moved to the device; float64 there, and a mixture of devices, raise."""
    known, precision.WITHOUT_FLOAT64 = precision.WITHOUT_FLOAT64, (DEVICE.type,)
    asked = ("is_autocast_enabled", "get_autocast_dtype", "autocast")
    try:
        with _Dispatch(), _Constructors(), _numbers_from_the_cpu(), ExitStack() as patches:
            for name in asked:
                patches.enter_context(mock.patch.object(torch, name, partial(_as_the_cpu, getattr(torch, name))))
            yield DEVICE
    finally:
        precision.WITHOUT_FLOAT64 = known


def _as_the_cpu(function, device_type=None, *args, **kwargs):
    """Of autocast, which knows no device of this name."""
    given = () if device_type is None else ("cpu" if device_type == DEVICE.type else device_type,)
    return function(*given, *args, **kwargs)


class _Accelerator(CPUAccelerator):
    def setup_device(self, device):
        """Nothing: the CPU's looks for a CPU."""


def trainer_on(device: torch.device, **options: Any) -> L.Trainer:
    """A trainer that moves model and batches to the device."""
    return L.Trainer(strategy=SingleDeviceStrategy(device=device, accelerator=_Accelerator()), **options)


@contextmanager
def _numbers_from_the_cpu() -> Iterator[None]:
    """A device's own generators are not there: its random numbers are the CPU's."""
    reseed, numbers = Randomness.reseed, Randomness._numbers

    def reseed_here(self, *key, device="cpu", first=None):
        self.made_for = torch.device(device)
        reseed(self, *key, first=first)

    with (
        mock.patch.object(Randomness, "reseed", reseed_here),
        mock.patch.object(Randomness, "_numbers", lambda self, *how: numbers(self, *how).to(self.made_for)),
        mock.patch.object(base, "seed_global", lambda seed, device: seed_global(seed, torch.device("cpu"))),
    ):
        yield


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


class _Constructors(TorchFunctionMode):
    """What makes tensors of numbers makes them below the dispatcher: here on the CPU, from where they are moved."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.new_tensor and isinstance(args[0], _There):
            kwargs = {"dtype": args[0].dtype, "device": DEVICE, **kwargs}
            function, args = torch.tensor, args[1:]
        if function is torch.Tensor.tolist and isinstance(args[0], _There):
            return args[0].inner.tolist()
        if function not in (torch.tensor, torch.as_tensor) or torch.device(kwargs.get("device") or "cpu") != DEVICE:
            return function(*args, **kwargs)
        if isinstance(args[0], torch.Tensor):
            return args[0].to(**kwargs)
        return function(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)


def _run(function, args, kwargs):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [isinstance(x, _There) for x in tensors]
    target = _target(function, args, kwargs)
    if target is None and function is not torch.ops.aten.copy_.default:
        assert all(there) or not any(t for t, x in zip(there, tensors, strict=True) if x.ndim) or not any(
            x.ndim for t, x in zip(there, tensors, strict=True) if not t
        ), f"{function}: tensors on two devices"  # fmt: skip
    cpu = torch.device("cpu")
    args, kwargs = tree_map(lambda x: x.inner if isinstance(x, _There) else x, (args, kwargs))
    args, kwargs = tree_map(lambda x: cpu if isinstance(x, torch.device) else x, (args, kwargs))
    result = function(*args, **({**kwargs, "device": cpu} if kwargs.get("device") is not None else kwargs))
    if any(there) and target is not None and isinstance(result, torch.Tensor):  # it may be cast before it is moved
        assert result.dtype in (torch.float32, tensors[0].dtype), f"{function}: {result.dtype} in one step with a move"
    if not (any(there) if target is None else target == DEVICE):
        return result

    def placed(x):
        if not isinstance(x, torch.Tensor):
            return x
        assert x.dtype != torch.float64, f"{function}: float64 is not known here"
        return _There(x)

    return tree_map(placed, result)


def _target(function, args, kwargs):
    """The device that an operation is told to leave its result on; None for that of its inputs."""
    if function is torch.ops.aten.to.other:
        return args[1].device
    named = [kwargs.get("device"), *(x for x in args if isinstance(x, torch.device))]
    return next((torch.device(x) for x in named if x is not None), None)
