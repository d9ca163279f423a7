"""Models from what files describe: the class, its arguments and its tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.models import GenerativeModel
from lit_gen.pretrained.fit import Misfit, check_fit
from lit_gen.pretrained.specification import build, without_trainer
from lit_gen.pretrained.stored import (
    CONFIG,
    FORMAT,
    WEIGHTS,
    checkpoint_config,
    plain_names,
    read_tensors,
    refuse_foreign,
)
from lit_gen.pretrained.trust import harmless


def from_checkpoint(path: Path, trusted: Sequence[str], trains: bool) -> GenerativeModel:
    """The model of a checkpoint, in eval mode; arguments and errors as of :func:`lit_gen.from_pretrained`."""
    class_path, arguments, state = describe_checkpoint(path)
    return built(class_path, arguments, state, trusted, str(path), str(path), trains)


def from_folder(folder: Path, trusted: Sequence[str], trains: bool) -> GenerativeModel:
    """The model of a folder, in eval mode; arguments and errors as of :func:`lit_gen.from_pretrained`."""
    class_path, arguments = describe_folder(folder)
    where, weights = str(folder / CONFIG), str(folder / WEIGHTS)
    return built(class_path, arguments, read_tensors(folder), trusted, where, weights, trains)


def describe_checkpoint(path: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The class of a checkpoint's model, its arguments, as far as they are harmless, and its tensors.

    Raises:
        ValueError: for a file that is no whole checkpoint of this library.
    """
    class_path = checkpoint_config(path, option="")["model"]["class_path"]
    checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    arguments = {k: v for k, v in checkpoint["hyper_parameters"].items() if k not in ("_class_path", "_instantiator")}
    return class_path, harmless(arguments), plain_names(checkpoint["state_dict"])


def describe_folder(folder: Path) -> tuple[str, dict[str, Any]]:
    """The class of a model in a folder of :func:`save_pretrained` and its arguments, as far as they are harmless.

    Raises:
        FileNotFoundError: if the folder holds no model.
        ValueError: for another format, or a damaged file.
    """
    refuse_foreign(folder)
    config = _read_config(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise ValueError(f"{folder / CONFIG}: format={config.get('format')!r}; this version reads format={FORMAT}")
    return str(config.get("class_path")), harmless(config.get("init_args", {}))


def built(
    class_path: str,
    arguments: Any,
    state: dict[str, Tensor],
    trusted: Sequence[str],
    where: str,
    weights: str,
    trains: bool,
) -> GenerativeModel:
    """The model that a description means, with its tensors, in eval mode.

    Args:
        class_path: Of the model.
        arguments: Of its constructor.
        state: The tensors.
        trusted: Packages whose classes may be named.
        where: The description's file, for errors.
        weights: The tensors' file, for errors.
        trains: Whether it is of the class of :mod:`lit_gen.modules`.

    Raises:
        ValueError: for a description that can't be built, or tensors that don't fit it.
    """
    try:
        check_fit(class_path, arguments, state, trusted)
        module: GenerativeModel = build(
            class_path if trains else without_trainer(class_path), arguments, trusted, GenerativeModel
        )
    except Misfit as error:
        raise ValueError(f"{weights}: its weights don't fit its model: {error}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    load_weights(module, state, weights)
    return module.eval()


def load_weights(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load all tensors of a file.

    Raises:
        ValueError: if they are not those of the module.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).split("\n\t")[1] if "\n\t" in str(error) else str(error)
        raise ValueError(f"{where}: its weights don't fit its model: {first}") from None


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a model's folder holds {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads(path.read_text())
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for the description of a model") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not the description of a model")
    return config
