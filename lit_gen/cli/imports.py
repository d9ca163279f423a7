"""Which modules options, configs and checkpoints may have imported: decided where the parser imports."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import _common, set_parsing_settings

from lit_gen.moved import MOVED
from lit_gen.pretrained.trust import PUBLIC, TRUSTED, permitted
from lit_gen.yaml_text import read_yaml

# What a run is configured with beside its model.
SURROUNDINGS = ("datamodules", "lit_gen.callbacks", "lit_gen.tracking", "lightning.pytorch", "torch.nn")
_ANY_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NOT_MODULES = ("--ckpt_path", "--config", "-c", "--experiment", "--trainer.default_root_dir")
_USUAL = dict(_common.parsing_settings["import_path_verdicts"])


def restrict_imports(trusted: Iterable[str] | None = None) -> None:
    """Let options and files name no module of Python's own, and build classes only where a type allows them.

    Else a config's ``{class_path: subprocess.Popen}`` would be run wherever a framework's argument takes anything, and
    its ``os.system`` be called as somebody's learning rate.

    Args:
        trusted: With a checkpoint, whose strings are read like the user's: nothing else is imported than what models
            and runs are made of (``lit_gen.pretrained.trust``) and these packages. None without a checkpoint.
    """
    _common.parsing_settings["import_path_verdicts"] = dict(_USUAL)  # whatever an earlier command has allowed
    allowed, denied = [], sorted(sys.stdlib_module_names - {"__main__"})
    if trusted is not None:
        moved = [f"lit_gen.{name}" for name in MOVED if permitted(f"lit_gen.{name}.x", SURROUNDINGS)]
        denied = ["*", *denied]
        allowed = [*TRUSTED, *PUBLIC, *SURROUNDINGS, *moved, *(name for name in trusted if name not in denied)]
    set_parsing_settings(
        instantiate_subclass_spec_in_any=False, import_path_denylist=denied, import_path_allowlist=allowed
    )


def named_packages(arguments: Sequence[str]) -> list[str]:
    """Packages that the user's own options and configs name, by ``--trust`` or as part of a class's import path."""
    names, option = set(), ""
    for argument in arguments:
        value = argument
        if argument.startswith("-"):
            option, _, value = argument.partition("=")
        if option == "--trust":
            names |= {value} - {"", option}
        elif option in ("--config", "-c"):
            with suppress(OSError, ValueError):
                content = read_yaml(Path(value).read_text())
                names |= _packages(content)
        elif option not in _NOT_MODULES:
            with suppress(ValueError):
                names |= _packages(read_yaml(value))
    return sorted(names - {"lit_gen", "torch", "lightning"})


def _packages(value: Any) -> set[str]:
    return {text.partition(".")[0] for text in _texts(value) if _ANY_CLASS.fullmatch(text)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        yield from _texts(item)
