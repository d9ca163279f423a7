"""What is shipped with the package: configs and pretrained models. Imports no torch."""

import json
from pathlib import Path
from typing import Any

PRETRAINED = Path(__file__).parent / "weights"


def configs_folder() -> Path:
    """The shipped configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def list_configs() -> dict[str, str]:
    """The shipped configs by name, each with what its first comment says."""
    paths = sorted(path for path in configs_folder().glob("*.yaml") if path.stem != "default")
    return {path.stem: _first_comment(path) for path in paths}


def is_addon(path: Path) -> bool:
    """Whether a config only adds to others, as the one for W&B does: a shipped one that names no model."""
    return path.absolute().parent == configs_folder().absolute() and "\nmodel:" not in path.read_text()


def list_pretrained() -> dict[str, dict[str, Any]]:
    """The shipped models by name: what each was trained on, what it scores, and the classes of conditional ones."""
    configs = {path.parent.name: json.loads(path.read_text()) for path in sorted(PRETRAINED.glob("*/config.json"))}
    return {
        name: config["facts"] | {key: config[key] for key in ("class_names",) if key in config}
        for name, config in configs.items()
    }


def class_of(name: str) -> str:
    """The name of a shipped model's class, which isn't imported."""
    return str(json.loads((PRETRAINED / name / "config.json").read_text())["class_path"]).rpartition(".")[2]


def _first_comment(path: Path) -> str:
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)
