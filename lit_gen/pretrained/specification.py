"""Plain descriptions of configured objects, and the way back: from these modules are built again."""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Sequence
from typing import Any

import lit_gen
from lit_gen.pretrained.argument_types import check_types, texts
from lit_gen.pretrained.trust import permitted, resolve

MODELS, TRAINING = "lit_gen.models.", "lit_gen.modules."  # the same names without and with a Trainer


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


def parameters(kind: type) -> set[str]:
    """Names of the constructor's arguments; ``**kwargs`` stand for those of the base and of ``kind.options``."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            own = inspect.signature(vars(base)["__init__"]).parameters.values()
            unnamed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)  # a subclass gives the latter
            names |= {argument.name for argument in own if argument.kind not in unnamed}
            if all(argument.kind is not argument.VAR_KEYWORD for argument in own):
                break
    return (names | set(_options(kind))) - {"self"}


def _options(kind: type) -> dict[str, Any]:
    """The arguments that a class takes as ``**kwargs`` for its dataclasses ``options``, with their defaults."""
    fields = [field for options in getattr(kind, "options", ()) for field in dataclasses.fields(options)]
    return {field.name: field.default for field in fields}


def keep_own_arguments(module: Any) -> None:
    """Bring the saved hyper-parameters of a module into the form in which checkpoints keep them.

    They hold what its constructor takes and no more: the command line's links and the constructors of bases add to
    them. Of a module built in Python, values become descriptions, in the form in which LightningCLI stores them.
    """
    own = parameters(type(module))
    if "_class_path" in module.hparams:  # built by the command line
        for name in set(module.hparams) - own - {"_class_path", "_instantiator"}:
            del module.hparams[name]
        return
    described = described_arguments(module)
    described["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    module.hparams.clear()
    module.save_hyperparameters(described)


def described_arguments(module: Any) -> dict[str, Any]:
    """The arguments of the constructors of ``module`` that are running now, as plain values, with ``_class_path``.

    Those not given too, as defaults may change. A model without a Trainer names the class that trains it.
    """
    own = parameters(type(module))
    given = {**_options(type(module)), **_given(module)}
    described = {name: describe(value, name) for name, value in given.items() if name in own}
    described["_class_path"] = training_class(class_path(type(module)))
    return described


def _given(module: Any) -> dict[str, Any]:
    """What the running constructors of ``module`` were called with; an outer one's arguments come before an inner's."""
    given: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "__init__":
        frame = frame.f_back
    while frame is not None and frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is module:
        values = inspect.getargvalues(frame)
        given |= {name: values.locals[name] for name in values.args if name != "self"}
        given |= values.locals[values.keywords] if values.keywords else {}
        frame = frame.f_back
    return given


def without_trainer(path: Any) -> Any:
    """The import path of the model of :mod:`lit_gen.models` that a class of this library trains; any other as it is."""
    public = {f"lit_gen.{name}" for name in lit_gen.__all__}
    if not isinstance(path, str) or not (path in public or path.startswith(TRAINING)):
        return path
    kind = getattr(importlib.import_module(MODELS[:-1]), path.rpartition(".")[2], None)
    named = {f"lit_gen.{kind.__name__}", f"{TRAINING}{kind.__name__}", training_class(class_path(kind))} if kind else ()
    return class_path(kind) if path in named else path


def training_class(path: str) -> str:
    """The import path of the class that trains a model of :mod:`lit_gen.models`; any other path as it is."""
    return path.replace(MODELS, TRAINING, 1) if path.startswith(MODELS) else path


def _importable(thing: Any, argument: str) -> str:
    path = class_path(thing)
    if "<" in path:
        raise ValueError(
            f"{argument}={path} can't be imported again from a checkpoint: define it at the top level of a module"
        )
    return path


def build(class_path: str, arguments: Any, trusted: Sequence[str] = (), base: type | None = None) -> Any:
    """The object that a description names: the way back from :func:`keep_own_arguments`, without LightningCLI's parser.

    A described dataclass becomes an instance, any other described class or function a factory with its arguments: by
    this library's convention, stateless objects are passed as instances and networks and optimizers as factories.

    Args:
        class_path: Of the class to call.
        arguments: Its keyword arguments by name, as plain values.
        trusted: Packages whose classes may be imported besides those of :mod:`lit_gen.pretrained.trust`.
        base: What ``class_path`` has to be a class of; nothing else is called.

    Raises:
        ValueError: for a name outside the trusted packages, one that doesn't exist, or arguments that don't fit.
    """
    kind = resolve(class_path, trusted, base)
    try:
        inspect.signature(kind).bind(**_named(arguments, class_path))
        check_types(kind, arguments, class_path)
        return kind(**_rebuilt_arguments(kind, arguments, trusted))
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:  # values of another kind than it takes
        raise ValueError(f"{class_path}: {error}") from error


def _named(arguments: Any, class_path: str) -> dict[str, Any]:
    if not isinstance(arguments, dict):
        raise ValueError(f"{class_path}: init_args={arguments!r}: arguments by name")
    return arguments


def _rebuilt_arguments(kind: Any, arguments: dict[str, Any], trusted: Sequence[str]) -> dict[str, Any]:
    """All but those that are text, such as a file's name, which may look like an import path."""
    words = texts(kind)
    return {
        name: value if isinstance(value, str) and name in words else _rebuilt(value, trusted)
        for name, value in arguments.items()
    }


def _rebuilt(value: Any, trusted: Sequence[str]) -> Any:
    if isinstance(value, list):  # a text in it that may not be imported is a name, such as a layer's
        return tuple(v if isinstance(v, str) and not permitted(v, trusted) else _rebuilt(v, trusted) for v in value)
    if isinstance(value, str) and "." in value:  # a factory; options of networks have no dots in their names
        return resolve(value, trusted)
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {key: _rebuilt(v, trusted) for key, v in value.items()}
    kind, arguments = resolve(value["class_path"], trusted), value.get("init_args") or {}
    if dataclasses.is_dataclass(kind):
        return build(value["class_path"], arguments, trusted)
    named = _named(arguments, value["class_path"])
    check_types(kind, named, value["class_path"])
    return functools.partial(kind, **_rebuilt_arguments(kind, named, trusted))
