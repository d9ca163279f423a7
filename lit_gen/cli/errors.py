"""Errors of the command line in one line, with what would have been accepted."""

import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

import datamodules
from lit_gen import losses, modules, networks, optimizers
from lit_gen.cli.mistakes import OWN, raised_in, users_error
from lit_gen.cli.words import nearest, suggest, unrecognised
from lit_gen.distributions import Likelihood

BASES: dict[str, type] = {  # by the ends of the arguments that take them
    "model": modules.GenerativeModule,
    "data": datamodules.DataModule,
    "loss": losses.AdversarialLoss,
    "penalty": losses.Penalty,
    "constraint": losses.Constraint,
    "regularizer": modules.Regularizer,
    "augmentation": modules.Augmentation,
    "generator": networks.Generator,
    "discriminator": networks.Discriminator,
    "encoder": networks.Encoder,
    "decoder": networks.Decoder,
    "likelihood": Likelihood,
    "scheduler": LRScheduler,
}
_NOISE = re.compile(r"^(Does not validate against|Subtypes:|Errors:|Given value|expected NoneType|Expected a path but)")


def choices(key: str) -> list[str]:
    """Names of this project's classes that the argument ``key`` takes, those of torch for schedulers."""
    if key.endswith("optimizer"):
        return sorted(name for name, value in vars(optimizers).items() if _defined_in(value, optimizers.__name__))
    base = next((base for name, base in BASES.items() if key == name or key.endswith(f"_{name}")), None)
    return sorted({c.__name__ for c in _subclasses(base) if not inspect.isabstract(c)}) if base else []


def _other_kind(name: str) -> str | None:
    """What a class of this project that isn't accepted in one place is good for."""
    return next((key for key, base in BASES.items() if name in {c.__name__ for c in _subclasses(base)}), None)


def _defined_in(value: Any, module: str) -> bool:
    return isinstance(value, type) and value.__module__ == module


def _subclasses(base: type) -> Iterable[type]:
    subclass: type
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def shorten(message: str, accepted: Iterable[str] = (), options: Iterable[str] = ()) -> str:
    """The telling part of jsonargparse's nested message in one line, with the accepted choices.

    Args:
        message: What jsonargparse says.
        accepted: Names of the options where the error occurred.
        options: All options of the command, with their dashes.
    """
    if told := unrecognised(message, options):
        return told
    if missing := re.search(r"arguments are required: (?:\w+\.)?(model|data)\b", message):
        path = "a path of images, or " if missing[1] == "data" else ""
        return f"--{missing[1]} is required: {path}a class, {suggest('', choices(missing[1]))}; or give a --config"
    if unknown := re.search(r"[Oo]ption '(\S+)' is not accepted|does not accept option '(\S+)'", message):
        name = unknown[1] or unknown[2]
        own, last = sorted(accepted), name.rpartition(".")[2]
        hint = nearest(last, own) or nearest(name.partition(".")[0], own)
        return f"unknown option {name}; {hint}accepted: {', '.join(own)}" if own else f"unknown option {name}"
    keys = re.findall(r'Parser key "([^"]+)"', message)
    key = keys[-1].rpartition(".")[2] if keys else ""
    if missing := re.search(r"Expected a dot import path string: (\S+)|No module named|has no attribute", message):
        name = missing[1] or message.splitlines()[-1].strip(" -")
        if (kind := _other_kind(name)) is not None:
            return f"{key}: {name} is no {key} but a {kind}; {suggest(name, choices(key))}, or give an import path"
        return f"{key}: no class {name}; {suggest(name, choices(key))}, or give an import path"
    if foreign := re.search(r"Importing '(\S+)' is not allowed, denied by the '\*'", message):
        return (
            f"the checkpoint names {foreign[1]}, of a package that is not of this library; nothing of it was imported. "
            f"If you trust it: --trust {foreign[1].partition('.')[0]}, or give --model or --data by their import path"
        )
    if denied := re.search(r"Importing '(\S+)' is not allowed", message):
        return f"{key}: {denied[1]} is not to be named here; no option or file may name Python's own modules"
    message = re.sub(r"Expected an? <class '(\w+)'>", r"expected \1", message)
    message = message.replace("Expected a typing.Literal", "expected one of ")
    lines = (line.strip(" -") for line in message.splitlines())
    telling = [line for line in lines if line and not _NOISE.match(line)]
    return " ".join(dict.fromkeys(telling)).replace("Parser key ", "")


@contextmanager
def framework_errors() -> Iterator[None]:
    """What the framework says while it reads and builds what options name is an error of the user.

    Raises:
        ValueError: in its place. Mistakes of this library itself are raised as they are.
    """
    try:
        yield
    except Exception as error:
        if users_error(error) is not None or raised_in(error)[-1].startswith(OWN):
            raise
        text = str(error) or "no further explanation"
        raise ValueError(f"{text} ({type(error).__name__})") from error
