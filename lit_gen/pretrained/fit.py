"""Whether tensors are those of the model that a file describes, found out before memory is taken for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from lit_gen.models import GenerativeModel
from lit_gen.pretrained.specification import build, without_trainer

REGISTRATIONS = 8  # of parameters while a model is built, for each tensor that its file holds: copies, constraints


class Misfit(ValueError):
    """The tensors are not those of the model."""


def check_fit(class_path: str, arguments: Any, state: dict[str, Tensor], trusted: Sequence[str] = ()) -> None:
    """Compare a description with tensors: build the model without memory, on PyTorch's meta device.

    Args:
        class_path: Of the model.
        arguments: Of its constructor, as a file describes them.
        state: The file's tensors by name.
        trusted: Packages whose classes the description may name. Where one of them can't be built without memory
            nothing is compared; this library's own can.

    Raises:
        Misfit: naming the first tensor that is missing, unknown, of another shape, a whole number where the model
            computes with real ones, or not a number.
        ValueError: as :func:`lit_gen.pretrained.specification.build`.
    """
    try:
        with torch.device("meta"), _NoNumbers(), _at_most(REGISTRATIONS * (len(state) + 8)):
            own = build(without_trainer(class_path), arguments, trusted, GenerativeModel).state_dict()
    except (NotImplementedError, RuntimeError):
        if not trusted:
            raise
        return
    compare(own, state)


def compare(own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """See that tensors are those of a module.

    Args:
        own: The module's state.
        state: The file's.

    Raises:
        Misfit: naming the first that isn't.
    """
    if missing := [key for key in own if key not in state]:
        raise Misfit(f"Missing key(s) in state_dict: {', '.join(missing[:3])}")
    if unknown := [key for key in state if key not in own]:
        raise Misfit(f"Unexpected key(s) in state_dict: {', '.join(unknown[:3])}")
    for key, tensor in state.items():
        there, here = tuple(tensor.shape), tuple(own[key].shape)
        if there != here:
            raise Misfit(f"size mismatch for {key}: shape {there} in the file, {here} in the model")
        if tensor.is_floating_point() != own[key].is_floating_point():
            raise Misfit(f"{key} is {tensor.dtype} in the file, {own[key].dtype} in the model")
        if tensor.is_floating_point() and tensor.isnan().any():
            raise Misfit(f"{key} holds values that are not numbers (NaN)")


class _NoNumbers(TorchFunctionMode):
    """Within, no normal numbers are drawn: without memory they mean nothing, and PyTorch loads a compiler for them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Within, no more parameters than this can be made: a description of a million layers ends early."""
    left = count

    def register(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Misfit("the model has more tensors than the file")

    hook = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        hook.remove()
