"""What the command line needs around LightningCLI: shipped configs, checkpoints as configs, short errors."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch.utilities import rank_zero_only

from lit_gen.pretrained.resume import last_checkpoint
from lit_gen.pretrained.shipped import configs_folder, list_configs
from lit_gen.pretrained.stored import checkpoint_config

PACKAGES = ("lit_gen", "datamodules", "torch", "lightning")  # whose classes a checkpoint may name
RUNS = "runs"  # trainer.default_root_dir, unless stated


def resolve_configs(arguments: Sequence[str], commands: Sequence[str]) -> list[str]:
    """Put shipped configs in the place of their names, and a checkpoint's own configuration before all options."""
    resolved = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c") and equals:
            resolved[i] = f"{name}={_config_path(value)}"
        elif i > 0 and arguments[i - 1] in ("--config", "-c"):
            resolved[i] = _config_path(argument)
    if not resolved or resolved[0] not in commands:
        return resolved
    path: Any = _option(resolved, "--ckpt_path")
    alone = not any(_option(resolved, name) for name in ("--config", "-c", "--model"))
    if path == "last" and alone and (experiment := _option(resolved, "--experiment")):
        folder = Path(_option(resolved, "--trainer.default_root_dir") or RUNS) / experiment
        path = last_checkpoint(folder) or (None if resolved[0] == "fit" else _no_checkpoint(folder))
    if path != "last" and (stored := checkpoint_config(path)):  # else the folder is known after parsing
        check_packages(stored, path, " ".join([*resolved, *_config_texts(resolved)]))
        config = {key: stored[key] for key in ("model", "data") if key in stored}
        resolved[1:1] = ["--config", json.dumps(config)]
    return resolved


def _config_path(name: str) -> str:
    if Path(name).is_file() or "\n" in name or "{" in name:
        return name
    shipped = configs_folder() / f"{Path(name).name.removesuffix('.yaml')}.yaml"
    if not shipped.is_file():
        raise ValueError(
            f"--config {name}: neither a file nor the name of a shipped config ({', '.join(list_configs())})"
        )
    return str(shipped)


def _option(arguments: Sequence[str], name: str) -> str | None:
    value = None
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
        elif argument == name and i + 1 < len(arguments):
            value = arguments[i + 1]
    return value


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
    step = checkpoint_config(path)["global_step"]
    rank_zero_note(f"--ckpt_path last: continuing from {path}, step {step}")
    return str(path)


def _no_checkpoint(folder: Path) -> NoReturn:
    raise FileNotFoundError(f"--ckpt_path last: no run in {folder} has a checkpoint")


@rank_zero_only
def rank_zero_note(text: str) -> None:
    """Print a line for the user, in one process only."""
    print(f"lit-gen: {text}", file=sys.stderr)


def check_packages(stored: dict[str, Any], path: Any, given: str) -> None:
    """Refuse a checkpoint that names classes of packages which the user hasn't named: importing them runs them.

    Args:
        stored: Of :func:`checkpoint_config`.
        path: Of the checkpoint.
        given: The user's options and configs.

    Raises:
        ValueError: naming the class.
    """
    for name in _class_paths(stored):
        package = name.partition(".")[0]
        if package not in PACKAGES and f"{package}." not in given:
            raise ValueError(
                f"--ckpt_path {path}: names {name}, of a package that is not of this library; nothing of it was "
                "imported. Give --model or --data by their import path if you trust it"
            )


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "class_path":
                yield str(item)
            yield from _class_paths(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _class_paths(item)


def _config_texts(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        path = Path(argument.partition("=")[2] or argument)
        with suppress(OSError, ValueError):
            if path.suffix in (".yaml", ".yml"):
                yield path.read_text()


def differences(prefix: str, given: Any, used: Any) -> Iterator[str]:
    """Lines that say which values of two nested configurations differ."""
    if isinstance(given, dict) and isinstance(used, dict):
        for key in sorted(given.keys() | used.keys()):
            yield from differences(f"{prefix}.{key}".replace(".init_args", ""), given.get(key), used.get(key))
    elif given != used:
        yield f"{prefix}={json.dumps(given)} was given, {json.dumps(used)} is used"


def restrict_imports() -> None:
    """Let options and files name no module of Python's own, and build classes only where a type allows them.

    Else a config's ``{class_path: subprocess.Popen}`` would be run wherever a framework's argument takes anything, and
    its ``os.system`` be called as somebody's learning rate.
    """
    set_parsing_settings(
        instantiate_subclass_spec_in_any=False, import_path_denylist=sorted(sys.stdlib_module_names - {"__main__"})
    )
