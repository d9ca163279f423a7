"""Trained modules from checkpoints."""

import importlib
from pathlib import Path

from lit_gen.cli_support import checkpoint_config
from lit_gen.modules import GenerativeModule


def load_module(path: str | Path) -> GenerativeModule:
    """The module of a checkpoint of this library, whatever its class, on the CPU in eval mode.

    Nothing but tensors and plain values is read from the file; its model's class is imported by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it isn't a whole checkpoint of this library.
    """
    name: str = checkpoint_config(path, option="")["model"]["class_path"]
    package, _, kind = name.rpartition(".")
    found = getattr(importlib.import_module(package), kind, None)
    if not (isinstance(found, type) and issubclass(found, GenerativeModule)):
        raise ValueError(f"{path}: its model {name} is no GenerativeModule")
    return found.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
