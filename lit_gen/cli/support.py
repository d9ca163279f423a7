"""The command line before it is parsed: files below options, shipped configs by names, a checkpoint below all."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.utilities import rank_zero_only

from lit_gen.cli.words import note, suggest
from lit_gen.pretrained.resume import last_checkpoint
from lit_gen.pretrained.shipped import configs_folder, list_configs
from lit_gen.pretrained.stored import checkpoint_config
from lit_gen.yaml_text import read_yaml

WHOLES = {"--config": 0, "-c": 0, "--model": 1, "--data": 1}  # files, then classes
RUNS = "runs"  # trainer.default_root_dir, unless stated


def put_wholes_first(arguments: Sequence[str]) -> list[str]:
    """A command's files and classes before the options that change them, wherever the user wrote them.

    A parser that reads from left to right knows no option of ``--data`` before its class, and lets a file undo what
    stands to its left.
    """
    if not arguments or arguments[0].startswith("-"):
        return list(arguments)
    wholes: dict[int, list[str]] = {0: [], 1: []}
    others: list[str] = []
    remaining = iter(arguments[1:])
    for argument in remaining:
        name, equals, _ = argument.partition("=")
        if name in WHOLES:
            wholes[WHOLES[name]] += [argument] if equals else [argument, *islice(remaining, 1)]
        else:
            others.append(argument)
    return [*arguments[:1], *wholes[0], *wholes[1], *others]


def resolve_configs(arguments: Sequence[str]) -> list[str]:
    """Put shipped configs in the place of their names.

    Raises:
        ValueError: for a config that is neither a file nor shipped.
    """
    resolved = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c") and equals:
            resolved[i] = f"{name}={_config_path(value)}"
        elif i > 0 and arguments[i - 1] in ("--config", "-c"):
            resolved[i] = _config_path(argument)
    return resolved


def _config_path(name: str) -> str:
    if Path(name).is_file() or "\n" in name or "{" in name:
        return name
    shipped = configs_folder() / f"{Path(name).name.removesuffix('.yaml')}.yaml"
    if not shipped.is_file():
        shipped_ones = list_configs()
        raise ValueError(
            f"--config {name}: neither a file nor the name of a shipped config; {suggest(name, shipped_ones)}"
        )
    return str(shipped)


def asked(arguments: Sequence[str]) -> str | None:
    """The value of ``--ckpt_path``, or of ``ckpt_path`` in the last config that has one."""
    if (given := option(arguments, "--ckpt_path")) is not None:
        return None if given in ("null", "None", "") else given
    found = None
    for content in _contents(arguments):
        found = content.get("ckpt_path", found)
    return found if isinstance(found, str) else None


def names_data_alone(arguments: Sequence[str]) -> bool:
    """Whether options or configs say the data, and none says the model."""
    named = {
        name
        for name in ("model", "data")
        if option(arguments, f"--{name}") is not None or any(name in content for content in _contents(arguments))
    }
    return named == {"data"}


def _contents(arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    for text in config_texts(arguments):
        with suppress(ValueError):
            content = read_yaml(text)
            if isinstance(content, dict):
                yield content


def with_configuration(arguments: Sequence[str], command: str, config: dict[str, Any]) -> list[str]:
    """The arguments with a configuration below all that the user gives."""
    place = list(arguments).index(command) + 1
    return [*arguments[:place], "--config", json.dumps(config), *arguments[place:]]


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value that an option is given last."""
    value = None
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
        elif argument == name and i + 1 < len(arguments):
            value = arguments[i + 1]
    return value


def config_texts(arguments: Sequence[str]) -> Iterator[str]:
    """The texts of all configs, in their order."""
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c"):
            text = value if equals else arguments[i + 1] if i + 1 < len(arguments) else ""
            with suppress(OSError, ValueError):
                yield Path(text).read_text() if "{" not in text and "\n" not in text else text


def last_alone(arguments: Sequence[str], command: str) -> str | None:
    """What ``--ckpt_path last`` stands for where nothing but the experiment's name says what to parse; else None."""
    if any(option(arguments, name) for name in ("--config", "-c", "--model")):
        return None  # the experiment is known once they are parsed
    experiment = option(arguments, "--experiment")
    if experiment is None:
        return None
    folder = Path(option(arguments, "--trainer.default_root_dir") or RUNS) / experiment
    path = last_checkpoint(folder)
    if path is None and command != "fit":
        _no_checkpoint(folder)
    return None if path is None else str(_told(path))


def resolve_last(folder: Path, command: str) -> str | None:
    """What ``--ckpt_path last`` stands for in an experiment's folder; says what is found.

    Training for which there is nothing to continue starts anew, so that a job which is started again and again has
    one command.

    Raises:
        FileNotFoundError: for another command than ``fit``, if there is no checkpoint.
    """
    path = last_checkpoint(folder)
    if path is None:
        if command != "fit":
            _no_checkpoint(folder)
        rank_zero_note(f"--ckpt_path last: no run in {folder} has a checkpoint; starting from scratch")
        return None
    return str(_told(path))


def _told(path: Path) -> Path:
    step = checkpoint_config(path)["global_step"]
    rank_zero_note(f"--ckpt_path last: continuing from {path}, step {step}")
    return path


def _no_checkpoint(folder: Path) -> NoReturn:
    raise FileNotFoundError(f"--ckpt_path last: no run in {folder} has a checkpoint")


@rank_zero_only
def rank_zero_note(text: str) -> None:
    """Print a line for the user, in one process only."""
    note(text)
