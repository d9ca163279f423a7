"""Plain descriptions of configured objects, from which LightningCLI and ``load_from_checkpoint`` build them again."""

import dataclasses
import functools
import inspect
from typing import Any


def class_path(thing: Any) -> str:
    """The import path of a class or function."""
    return f"{thing.__module__}.{thing.__qualname__}"


def describe(value: Any, argument: str = "value") -> Any:
    """Turn an argument into plain values: classes, partials and dataclass instances become ``class_path`` dictionaries.

    Raises:
        ValueError: for objects that can't be built again from a description (lambdas, local functions, instances
            of other classes), naming ``argument``.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [describe(v, argument) for v in value]
    if isinstance(value, dict):
        return {k: describe(v, f"{argument}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {"class_path": _importable(type(value), argument), "init_args": describe(fields, argument)}
    if isinstance(value, functools.partial) and (factory := _factory(value)) is not None:
        return {"class_path": _importable(factory, argument), "init_args": describe(value.keywords, argument)}
    if isinstance(value, type):
        return {"class_path": _importable(value, argument)}
    if inspect.isfunction(value):
        return _importable(value, argument)
    raise ValueError(
        f"{argument}={value!r} can't be written to a checkpoint: give a class, a functools.partial of a class with "
        "keyword arguments, or an instance of a dataclass"
    )


def _factory(value: functools.partial) -> Any:
    """What a partial calls, if its arguments are all named; the class itself in jsonargparse's own wrapping."""
    if value.func.__module__.startswith("jsonargparse"):
        return next((argument for argument in value.args if isinstance(argument, type)), None)
    return None if value.args else value.func


def describe_module(module: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters of a module built in Python, in the form in which LightningCLI stores them."""
    described = {name: describe(value, name) for name, value in arguments.items()}
    described["_class_path"] = class_path(module)
    described["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    return described


def _importable(thing: Any, argument: str) -> str:
    path = class_path(thing)
    if "<" in path:
        raise ValueError(
            f"{argument}={path} can't be imported again from a checkpoint: define it at the top level of a module"
        )
    return path
