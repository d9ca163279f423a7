"""Whether plain values are of the types that a constructor declares, before it computes with them."""

import dataclasses
import inspect
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_types(kind: Any, arguments: dict[str, Any], name: str) -> None:
    """Compare plain values with the annotations of a class's constructors, or of a function.

    Judged are numbers, words, truth values, None and tuples of them, and numbers where an object is declared; anything
    else is the constructor's own matter.

    Args:
        kind: The class or function.
        arguments: By name.
        name: Of ``kind``, for the message.

    Raises:
        ValueError: naming the first argument that is of another type, its value and what is accepted.
    """
    declared = _declared(kind)
    for argument, value in arguments.items():
        if argument in declared and not _fits(value, declared[argument]):
            expected = inspect.formatannotation(declared[argument])
            raise ValueError(f"{name}: {argument}={value!r}: expected {expected}")


def texts(kind: Any) -> set[str]:
    """Names of a constructor's, or a function's, arguments that are declared as text: files and other names."""
    declared = _declared(kind)
    return {name for name, value in declared.items() if str in (value, *get_args(value))}


def _declared(kind: Any) -> dict[str, Any]:
    bases = reversed(kind.__mro__) if isinstance(kind, type) else ()
    makers = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or [kind]
    makers += [options for options in getattr(kind, "options", ()) if dataclasses.is_dataclass(options)]
    found: dict[str, Any] = {}
    for maker in makers:
        with suppress(NameError, TypeError):  # annotations that can't be read say nothing
            found |= get_type_hints(maker)
    return found


def _fits(value: Any, declared: Any) -> bool:
    origin, inner = get_origin(declared), get_args(declared)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple and inner:
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis and isinstance(value, (list, tuple)) else inner
        same = isinstance(value, (list, tuple)) and len(value) == len(each)
        return same and all(_fits(v, d) for v, d in zip(value, each, strict=True))
    if declared is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if declared is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if declared in (bool, str, type(None)):
        return isinstance(value, declared)
    if isinstance(value, (int, float)):  # no object, and nothing that makes one
        return origin is not Callable and (
            declared is Any or not isinstance(declared, type) or isinstance(value, declared)
        )
    return True
