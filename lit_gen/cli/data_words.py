"""Data said by a path or a short name, where a class of data modules is wanted."""

import inspect
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import datamodules
from datamodules.formats.containers import is_array_file
from datamodules.formats.recognising import data_module_at
from datamodules.formats.vision_table import SETS

SHORT_NAMES = {"digits": "DigitsDataModule", "mnist": "MNISTDataModule", "cifar10": "CIFAR10DataModule"}
CONFIGURATIONS = (".yaml", ".yml", ".json")
MISSING = (*CONFIGURATIONS, ".zip", ".parquet", ".tar")  # files, if they were there, and no import paths
NAME_OF_CLASS = re.compile(r"[A-Z]\w*|[^\W\d]\w*(\.[^\W\d]\w*)+")


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
        ValueError: for a path at which no data module finds data, and for one beside another ``--data`` or beside the
            option that says the same.
        FileNotFoundError: for a word that is nothing of all that.
    """
    resolved: list[str] = []
    words: list[str] = []
    further: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, value = argument.partition("=")
        if name != "--data":
            resolved.append(argument)
            continue
        given = [value] if equals else list(islice(remaining, 1))
        options = [option for word in given for option in _options(word)]
        resolved += ["--data", *options]
        words += given
        further += [option.partition("=")[0] for option in options[1:]]
    if further and len(words) > 1:
        raise ValueError(f"--data {' and --data '.join(words)}: give one of them")
    for said in further:
        if any(argument.partition("=")[0] == said for argument in arguments):
            raise ValueError(f"--data {words[0]}: it says what {said} says; give one of them")
    return resolved


def _options(word: str) -> list[str]:
    """A class and what it needs to be told of the data; the word alone, if it is a class or a configuration."""
    place = _existing(word)
    if word in datamodules.__all__ or (place is None and ("{" in word or "\n" in word)):
        return [word]
    if place is not None:
        if place.is_file() and place.suffix in CONFIGURATIONS:
            return [word]
        if (found := data_module_at(word)) is None:
            raise ValueError(
                f"--data {word}: no file or folder of images that a data module reads (lit-gen check {word} tells more)"
            )
        path = f"./{word}" if word.casefold() == "null" else word  # which YAML reads as nothing
        return [found, f"--data.{place_of(getattr(datamodules, found))}={path}"]
    if "://" in word:
        return ["StreamingDataModule", f"--data.root={word}"]
    if (named := set_of_torchvision(word)) is not None and word not in SHORT_NAMES:
        return ["TorchvisionDataModule", f"--data.name={named}"]
    if word in SHORT_NAMES:
        return [SHORT_NAMES[word]]
    if NAME_OF_CLASS.fullmatch(word) and Path(word).suffix.lower() not in MISSING and not is_array_file(word):
        return [word]
    raise FileNotFoundError(
        f"--data {word}: no such file or folder; accepted are paths of images and of YAML, addresses of shards, "
        f"{', '.join(SHORT_NAMES)}, a set of torchvision such as SVHN, and classes of data modules"
    )


def _existing(word: str) -> Path | None:
    """The path, if something is there."""
    try:
        return Path(word) if word and Path(word).exists() else None
    except OSError:  # longer than any name
        return None
