"""What the command line needs around LightningCLI: shipped configs, checkpoints as configs, short errors."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from lit_gen.shipped import configs_folder, list_configs


def resolve_configs(arguments: Sequence[str], commands: Sequence[str]) -> list[str]:
    """Put shipped configs in the place of their names, and a checkpoint's own configuration before all options."""
    resolved = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c") and equals:
            resolved[i] = f"{name}={_config_path(value)}"
        elif i > 0 and arguments[i - 1] in ("--config", "-c"):
            resolved[i] = _config_path(argument)
    if resolved and resolved[0] in commands:
        stored = checkpoint_config(_option(resolved, "--ckpt_path"))
        if stored:
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


def checkpoint_config(path: Any, option: str = "--ckpt_path ") -> dict[str, Any]:
    """Model and data of a checkpoint as a configuration, its step, image shape and W&B run; empty without one.

    Raises:
        ValueError: if the file can't be read as a checkpoint of this library.
        FileNotFoundError: if there is no such file.
    """
    if not path:
        return {}
    path = Path(str(path))
    if not path.is_file():
        raise FileNotFoundError(f"{option}{path}: no such file")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        assert isinstance(checkpoint, dict)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{option}{path}: not a whole checkpoint ({reason})") from None
    config = {}
    for key, name in {"model": "hyper_parameters", "data": "datamodule_hyper_parameters"}.items():
        arguments = dict(checkpoint.get(name, {}))
        if "_class_path" in arguments:
            arguments.pop("_instantiator", None)
            config[key] = {"class_path": arguments.pop("_class_path"), "init_args": arguments}
    if "model" not in config:
        raise ValueError(f"{option}{path}: not a checkpoint of lit-gen, it doesn't name its model's class")
    model = config["model"]["init_args"]
    shape, _ = model.pop("image_shape", None), model.pop("num_classes", None)  # on the command line the data's
    facts = {"global_step": checkpoint.get("global_step", 0), "image_shape": shape and list(shape)}
    return {**config, **facts, "wandb": checkpoint.get("wandb_id")}


def differences(prefix: str, given: Any, used: Any) -> Iterator[str]:
    """Lines that say which values of two nested configurations differ."""
    if isinstance(given, dict) and isinstance(used, dict):
        for key in sorted(given.keys() | used.keys()):
            yield from differences(f"{prefix}.{key}".replace(".init_args", ""), given.get(key), used.get(key))
    elif given != used:
        yield f"{prefix}={json.dumps(given)} was given, {json.dumps(used)} is used"


def no_advertisement(record: logging.LogRecord) -> bool:
    """Whether a message of the framework isn't one for its makers' wares."""
    return "💡" not in record.getMessage()


def quieten() -> None:
    """Silence advertisements and warnings that tell a user nothing to do."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(no_advertisement)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode at the start of training.*")  # the averages
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*The number of training batches.*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    warnings.filterwarnings("ignore", message="Experiment logs directory.*")  # W&B's files in a new run's folder
    warnings.filterwarnings("ignore", module="jsonargparse.*")
