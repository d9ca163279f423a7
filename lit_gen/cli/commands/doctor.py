"""``lit-gen doctor``: what this installation has and finds. Asks no network."""

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from lit_gen import __version__
from lit_gen.cli.words import CommandParser
from lit_gen.kernels.guard import told_error
from lit_gen.kernels.trial import BOUND, error_here
from lit_gen.metrics import SHIPPED, load_extractor
from lit_gen.precision import fast_bfloat16
from lit_gen.pretrained.shipped import configs_folder, list_configs, list_pretrained
from lit_gen.tracking.loggers import logged_in

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "wandb", "huggingface_hub", "onnx")


def run(arguments: list[str]) -> None:
    """Print what was found, a line each."""
    text = "What this installation has and finds, without a network."
    CommandParser("doctor", text).parse_args(arguments)
    lines = {
        "lit-gen": f"{__version__}, Python {platform.python_version()}, {platform.platform()}",
        **{package: _version(package) for package in PACKAGES},
        "devices": _devices(),
        "precision": _precision(),
        "convolutions": _convolutions(),
        "configs": f"{len(list_configs())} in {configs_folder()}",
        **{f"extractor {name}": _extractor(name) for name in SHIPPED},
        "models": ", ".join(list_pretrained()) or "none shipped",
        "data": f"{Path('data').absolute()}: {_content(Path('data'))}",
        "Hugging Face cache": _hub(),
        "W&B": _wandb(),
    }
    width = max(map(len, lines))
    for name, told in lines.items():
        print(f"{name:<{width}}  {told}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    found = [f"CPU with {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        found += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return "; ".join(found)


def _precision() -> str:
    """Which of the trainer's precisions the hardware computes in, not only emulates."""
    fast = fast_bfloat16(torch.cuda.is_available())
    return f"32-true; bf16-mixed {'in hardware' if fast else 'emulated, slower than 32-true'}"


def _convolutions() -> str:
    """Whether PyTorch's bfloat16 convolutions are right on this processor."""
    error = error_here()
    processor = "a processor with AMX" if torch.cpu.get_capabilities().get("amx_bf16", False) else "this processor"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    where = processor if limit is None else f"{processor} under ONEDNN_MAX_CPU_ISA={limit}"
    if error <= BOUND:
        return f"bfloat16 right on {where}, {told_error(error)}: no guard needed"
    return f"bfloat16 wrong on {where}, {told_error(error)}: guarded, in float32 where wrong (docs/bfloat16.md)"


def _extractor(name: str) -> str:
    try:
        metadata = load_extractor(name).metadata
    except (ValueError, OSError) as error:
        return str(error)
    return f"whole, test accuracy {metadata.get('test_accuracy', 'unknown')}"


def _content(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else "no such folder"


def _hub() -> str:
    from huggingface_hub import constants

    offline = ", offline" if constants.HF_HUB_OFFLINE else ""
    return f"{constants.HF_HUB_CACHE}{'' if Path(constants.HF_HUB_CACHE).is_dir() else ' (empty)'}{offline}"


def _wandb() -> str:
    """Whether an account is known here; the key itself is neither shown nor tried."""
    mode = os.environ.get("WANDB_MODE", "auto")
    return f"{'logged in' if logged_in() else 'not logged in (offline runs need no login)'}, mode {mode}"
