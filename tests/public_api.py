"""Lists the public API, one line a name: ``python tests/public_api.py > tests/public_api.txt``."""

import importlib
import inspect
import re

PACKAGES = [
    "lit_gen", "lit_gen.models", "lit_gen.modules", "lit_gen.networks", "lit_gen.losses", "lit_gen.distributions",
    "lit_gen.latent_space", "lit_gen.metrics", "lit_gen.callbacks", "datamodules",
]  # fmt: skip
FOREIGN = ("lightning", "torch", "torchmetrics", "abc", "builtins", "typing")  # whose methods are theirs to list


def listing() -> list[str]:
    """Every public name with its signature, and the methods and properties that it adds to its foreign bases."""
    return [line for package in PACKAGES for name in names(package) for line in lines(package, name)]


def names(package: str) -> list[str]:
    return sorted(importlib.import_module(package).__all__)


def lines(package: str, name: str) -> list[str]:
    value, path = getattr(importlib.import_module(package), name), f"{package}.{name}"
    home = getattr(value, "__module__", package)
    if package == "lit_gen" and isinstance(value, type):
        return [f"{path} is {home}.{name}"]
    if isinstance(value, type):
        return [f"{path}{signature(value)}", *(f"  {line}" for line in members(value))]
    return [f"{path}{signature(value)}" if callable(value) and inspect.isroutine(value) else path]


def members(kind: type) -> list[str]:
    """What a class defines itself or takes from bases that are not public, but no constructor or hook."""
    found = {}
    for base in reversed(kind.__mro__):
        if base.__module__.split(".")[0] in FOREIGN or (base is not kind and is_public(base)):
            continue
        for name, member in vars(base).items():
            if not name.startswith("_") and (name == "forward" or not overrides(kind, name)):
                getter = getattr(member, "fget", None) or getattr(member, "func", None)  # of a cached property
                if getter is not None:
                    found[name] = f".{name}: {annotation(inspect.signature(getter).return_annotation)}"
                elif inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)):
                    found[name] = f".{name}{signature(getattr(kind, name))}"
    return [found[name] for name in sorted(found)]


def is_public(kind: type) -> bool:
    return any(getattr(importlib.import_module(package), kind.__name__, None) is kind for package in PACKAGES)


def overrides(kind: type, name: str) -> bool:
    """Whether a hook or method of Lightning's, PyTorch's or torchmetrics' own goes by this name."""
    return any(name in vars(base) for base in kind.__mro__ if base.__module__.split(".")[0] in FOREIGN)


def signature(value) -> str:
    try:
        found = inspect.signature(value)
    except ValueError:
        return "(...)"
    parameters = [
        p.replace(
            annotation=p.empty if p.annotation is p.empty else Text(annotation(p.annotation)),
            default=p.empty if p.default is p.empty else Text(default(p.default)),
        )
        for p in found.parameters.values()
        if p.name != "self"
    ]
    text = str(inspect.Signature(parameters)) if parameters else "()"
    if found.return_annotation is found.empty or isinstance(value, type):
        return text
    return f"{text} -> {annotation(found.return_annotation)}"


def annotation(value) -> str:
    """An annotation without the modules of its names, the same on all versions of Python."""
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    text = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text).replace("NoneType", "None").replace("~", "")
    text = text.replace("Callable[[Iterable], Optimizer]", "OptimizerCallable")
    for union in ("Union[LRScheduler, ReduceLROnPlateau]", "LRScheduler | ReduceLROnPlateau"):
        text = text.replace(f"Callable[[Optimizer], {union}]", "LRSchedulerCallable")
    return re.sub(r"Optional\[(\w+|Literal\[[^]]*\])\]", r"\1 | None", text)


def default(value) -> str:
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__name__
    return re.sub(r" at 0x\w+", "", repr(value))


class Text(str):
    """Is written without quotes."""

    def __repr__(self) -> str:
        return str(self)


if __name__ == "__main__":
    print(*listing(), sep="\n")
