"""Which code made a result."""

import subprocess
from pathlib import Path
from typing import Any

from lit_gen import __version__


def code_version() -> dict[str, Any]:
    """The library's version; in a checkout also its commit, and whether tracked files differ from it."""
    version: dict[str, Any] = {"lit_gen": __version__}
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return version
    try:
        version["commit"] = _git(root, "rev-parse", "HEAD")
        version["modified"] = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):  # no git, or no commit yet
        pass
    return version


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
