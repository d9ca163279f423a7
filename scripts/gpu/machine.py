"""Prints what the stages run on as JSON; `scripts/gpu.sh` reads it."""

import json
import platform
import sys
from importlib.metadata import version

import torch

import lit_gen


def main(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"--device cuda: torch {torch.__version__} finds no CUDA device; --device cpu --small is a dry run")
    versions = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda if device == "cuda" else None,
        "cuDNN": str(torch.backends.cudnn.version()) if device == "cuda" else None,
        "lightning": version("lightning"),
        "lit-gen": lit_gen.__version__,
    }
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"
    print(json.dumps({"name": name, "versions": {key: value for key, value in versions.items() if value}}))


if __name__ == "__main__":
    main(sys.argv[1])
