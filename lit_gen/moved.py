"""Modules that have moved: their old names, in checkpoints, model folders, configurations and scripts, keep working."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    **{name: f"training.{name}" for name in ("averaging", "image_pool", "packing", "randomness", "standing")},
    **{f"modules.{name}": f"training.{name}" for name in ("faults", "player", "processes")},
    **{f"metrics.{name}": f"metrics.likelihood.{name}" for name in ("annealed", "importance", "information", "latent")},
    **{name: f"pretrained.{name}" for name in ("resume", "shipped", "specification", "stored")},
    **{name: f"tracking.{name}" for name in ("code_version", "loggers")},
    **{f"modules.{name}": f"models.{name}" for name in ("judge", "perceptual", "unrolled")},
    "cli_errors": "cli.errors",
    "metrics.inputs": "value_ranges",
    "cli_support": "cli.support",
    "commands": "cli.commands",
    "initialisation": "pretrained.warm_start",
    "latents": "distributions.latents",
    "run_config": "cli.run_config",
    "sync_batch_norm": "training.sync_batch_norm",
}


class _Moved:  # importlib's abstract bases would cost more than all else here
    """Finds a moved module by its old name: the very module that has the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = fullname.startswith("lit_gen.") and _moved(fullname) is not None
        return ModuleSpec(fullname, self) if found else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = importlib.import_module(f"lit_gen.{_moved(name)}")


def _moved(fullname: str) -> str | None:
    """The new name, below ``lit_gen``, of a moved module or of one within a moved package."""
    name = fullname.removeprefix("lit_gen.")
    package, _, module = name.rpartition(".")
    return MOVED.get(name) or (f"{MOVED[package]}.{module}" if package in MOVED else None)


def keep_old_names() -> None:
    """Let old names be imported, unless they can be already."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
