"""Data said by a path or a short name, where a class of data modules is wanted."""

import inspect
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import datamodules
from datamodules.formats.recognising import data_module_at
from datamodules.formats.vision_table import SETS

SHORT_NAMES = {"digits": "DigitsDataModule", "mnist": "MNISTDataModule", "cifar10": "CIFAR10DataModule"}
CONFIGURATIONS = (".yaml", ".yml", ".json")


def data_class(name: str) -> type[datamodules.DataModule] | None:
    """The class that a short name, a set of torchvision or a class's name means; None for another word."""
    if name not in SHORT_NAMES and set_of_torchvision(name) is not None:
        return datamodules.TorchvisionDataModule
    cls = getattr(datamodules, SHORT_NAMES.get(name, name), None)
    return cls if inspect.isclass(cls) and issubclass(cls, datamodules.DataModule) else None


def set_of_torchvision(name: str) -> str | None:
    """The set of torchvision that a name means, in whatever case."""
    return {known.casefold(): known for known in SETS}.get(name.casefold())


def place_of(cls: type[datamodules.DataModule]) -> str:
    """The argument of a data module that says where its data lie."""
    return "root" if "root" in inspect.signature(cls).parameters else "path"


def resolve_data(arguments: Sequence[str]) -> list[str]:
    """Put the class that reads them in the place of data that ``--data`` names by a path, an address or a short name.

    Raises:
        ValueError: for a path at which no data module finds data.
    """
    resolved: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, value = argument.partition("=")
        if name != "--data":
            resolved.append(argument)
            continue
        words = [value] if equals else list(islice(remaining, 1))
        resolved += ["--data", *(_options(words[0]) if words else [])]
    return resolved


def _options(word: str) -> list[str]:
    """A class and what it needs to be told of the data; the word alone, if it is a class or a configuration."""
    if word in datamodules.__all__ or word.endswith(CONFIGURATIONS) or "{" in word or "\n" in word:
        return [word]
    if "://" in word:
        return ["StreamingDataModule", f"--data.root={word}"]
    if Path(word).exists():
        if (found := data_module_at(word)) is None:
            raise ValueError(
                f"--data {word}: no file or folder of images that a data module reads (lit-gen check {word} tells more)"
            )
        return [found, f"--data.{place_of(getattr(datamodules, found))}={word}"]
    if (named := set_of_torchvision(word)) is not None and word not in SHORT_NAMES:
        return ["TorchvisionDataModule", f"--data.name={named}"]
    return [SHORT_NAMES.get(word, word)]
