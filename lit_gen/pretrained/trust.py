"""What files from elsewhere may name: one list and one resolver, for models, data, checkpoints and options.

A checkpoint, a model's folder and a configuration name classes by import paths. To import a module runs it, so what may
be named is decided before anything is imported, and what may be made of it by the class that is expected there.
"""

import importlib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import lit_gen
from lit_gen.moved import MOVED

# Modules whose classes and functions describe models. They hold what a configuration chooses from, and nothing that
# writes files, asks a network or starts processes.
TRUSTED = tuple(f"lit_gen.{name}" for name in ("distributions", "losses", "models", "modules", "networks"))
TRUSTED += ("lit_gen.optimizers", "lit_gen.schedulers", "lit_gen.training", "torch.optim")
PUBLIC = tuple(f"lit_gen.{name}" for name in lit_gen.__all__ if name[0].isupper())


def permitted(path: str, packages: Iterable[str] = ()) -> bool:
    """Whether an import path is one of the trusted modules, a public class of ``lit_gen``, or of further packages."""
    if path in PUBLIC:
        return True
    return any(_present(path).startswith(f"{package}.") for package in (*TRUSTED, *packages))


def _present(path: str) -> str:
    """The path of today of what a file may name by an old one."""
    for old, new in MOVED.items():
        if path.startswith(f"lit_gen.{old}."):
            return f"lit_gen.{new}{path.removeprefix(f'lit_gen.{old}')}"
    return path


def resolve(path: Any, packages: Sequence[str] = (), base: type | None = None) -> Any:
    """The class or function that an import path from elsewhere names.

    Args:
        path: As the file gives it.
        packages: What may be named besides ``TRUSTED``. Nothing else is imported.
        base: What it has to be a class of; None for any class or function.

    Raises:
        ValueError: for a name outside the trusted packages, one that doesn't exist, or no class of ``base``.
    """
    told = (*TRUSTED, *packages)
    roots = {package.split(".")[0] for package in told}  # a module also holds what it imports from elsewhere
    if not isinstance(path, str) or not permitted(path, packages):
        raise ValueError(
            f"class path {path!r} is outside the trusted packages ({', '.join(told)}); nothing of it was imported. "
            "Name its package in `trusted` if you trust its authors and the file's"
        )
    module, _, name = _present(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if missing and missing not in roots:
            raise ValueError(f"class path {path!r}: needs the package {missing}, which is not installed") from None
        raise ValueError(f"class path {path!r}: there is no such class or function") from None
    if not (isinstance(found, type) or inspect.isfunction(found)) or found.__module__.split(".")[0] not in roots:
        raise ValueError(f"class path {path!r}: not a class or function of its package")
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"class path {path!r}: no {base.__name__}")
    return found


def harmless(arguments: Any) -> Any:
    """A description without what would open other sources, ask a network or choose where files are written.

    At any depth the arguments ``init_from`` and all whose names begin with ``cache`` are left out, and ``download`` is
    false: whoever runs a file from elsewhere gives them.
    """
    if isinstance(arguments, dict):
        kept = {key: value for key, value in arguments.items() if key != "init_from" and not is_cache(key)}
        return {key: False if key == "download" else harmless(value) for key, value in kept.items()}
    if isinstance(arguments, (list, tuple)):
        return [harmless(value) for value in arguments]
    return arguments


def build_data(config: Any, base: type, packages: Sequence[str] = ()) -> Any:
    """The data module that a checkpoint describes.

    Args:
        config: ``class_path`` and ``init_args``; arguments may be data modules too.
        base: What every class has to be of; nothing else is called.
        packages: That may be named.

    Raises:
        ValueError: for a class that may not be named, no class of ``base``, or arguments that don't fit.
    """
    kind = resolve(config.get("class_path"), packages, base)
    given = harmless(config.get("init_args") or {})
    try:
        inspect.signature(kind).bind(**given)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None
    nested = {name: value for name, value in given.items() if isinstance(value, dict) and "class_path" in value}
    return kind(**given | {name: build_data(value, base, packages) for name, value in nested.items()})


def is_cache(name: Any) -> bool:
    """Whether an argument of this name chooses what is kept, and where files are written for that."""
    return isinstance(name, str) and name.startswith("cache")
