"""The names of classes that checkpoints and folders of trained models keep."""

from pathlib import Path
from typing import Any

from lit_gen.files import read_json
from lit_gen.pretrained.stored import CONFIG, checkpoint_config

KEY = "class_names"


def stored_class_names(path: Path) -> tuple[str, ...]:
    """Names of the classes of the model at a path, in their order; empty where it keeps none.

    Raises:
        ValueError: for a damaged file, or names that are no words.
    """
    folder = path.is_dir()  # in which weights without a description are enough to start from
    names: Any = read_json(path / CONFIG).get(KEY, ()) if folder else checkpoint_config(path, option="")[KEY]
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: {KEY}={names!r:.60}: a list of words is expected")
    return tuple(names)


def take_class_names(module: Any, path: Path) -> None:
    """Give a conditional model the names that are kept beside its weights.

    Raises:
        ValueError: if they aren't those of its classes.
    """
    names = stored_class_names(path)
    if names and getattr(module, "conditional", False):
        try:
            module.class_names = names
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
