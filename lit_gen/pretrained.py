"""Trained models as a folder of plain values and tensors, which leave the training stack and come back."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lit_gen import __version__
from lit_gen.cli_support import checkpoint_config
from lit_gen.modules import GenerativeModule
from lit_gen.shipped import PRETRAINED, list_pretrained
from lit_gen.specification import build

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
HASHES = "SHA256SUMS"  # of all shipped files, in the format of sha256sum


def from_pretrained(
    source: str | Path, part: str | None = None, revision: str | None = None, trusted: Sequence[str] = ()
) -> Any:
    """A trained model, ready to sample, encode, decode, translate or score, on the CPU in eval mode.

    Only tensors and plain values are read, and only classes of this library, ``torch.optim`` and ``trusted``
    packages are imported: a file from elsewhere runs nothing of its own.

    Args:
        source: A shipped name (see ``lit_gen.list_pretrained``), a folder of :func:`save_pretrained`, a checkpoint
            ``.ckpt`` of this library, or a repository ``owner/name`` of the Hugging Face Hub, from its cache if there
            is no network.
        part: One network alone, such as ``generator``, ``encoder`` or ``decoder``.
        revision: Branch, tag or commit of a Hub repository.
        trusted: Further packages whose classes the file may name.

    Returns:
        The :class:`GenerativeModule`, with averaged weights in the place of the trained ones if they were averaged; or
        the part, a plain ``nn.Module`` without gradients.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: for a damaged file, weights that don't fit, a class outside the trusted packages, an unknown part.
    """
    name, path = str(source), Path(source)
    if path.is_file():
        module = _from_checkpoint(path, trusted)
    elif path.is_dir():
        module = _from_folder(path, trusted)
    elif name in list_pretrained():
        check_shipped(name)
        module = _from_folder(PRETRAINED / name, trusted)
    elif re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name) and not name.endswith(".ckpt"):
        module = _from_folder(_download(name, revision), trusted)
    else:
        known = ", ".join(list_pretrained()) or "none"
        raise FileNotFoundError(f"{name}: neither a file nor a folder nor a shipped model ({known})")
    return module if part is None else _part(module, part, name)


def check_shipped(name: str) -> None:
    """Compare a shipped model's files with the hashes they were released with.

    Raises:
        ValueError: for a file that is not the one released.
    """
    for line in (PRETRAINED / HASHES).read_text().splitlines():
        digest, path = line.split("  ")
        if path.startswith(f"{name}/") and hashlib.sha256((PRETRAINED / path).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{PRETRAINED / path}: damaged, not the file that was released; install the package again")


def save_pretrained(module: GenerativeModule, folder: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write ``config.json``, ``model.safetensors`` and a model card; the folder appears whole or not at all.

    Where weights are averaged, the averages are written in the place of the trained ones.

    Args:
        module: A trained model.
        folder: A new folder, or an empty one.
        facts: What the card says, as plain values by name: data, protocol, scores, commit, licence, …

    Raises:
        ValueError: if the folder holds something, or the module can't be described by plain values.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={folder}: exists already and is not empty")
    arguments = dict(module.hparams)
    if module.averages:
        arguments["ema_half_life"] = None  # the averages become the weights
    config = {
        "format": FORMAT,
        "lit_gen": __version__,
        "class_path": arguments.pop("_class_path"),
        "init_args": {name: value for name, value in arguments.items() if name != "_instantiator"},
        "facts": dict(facts or {}),
    }
    content = json.dumps(config, indent=2, default=list) + "\n"
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        (unfinished / CONFIG).write_text(content)
        save_file(_weights(module), unfinished / WEIGHTS, metadata={"format": "pt"})
        (unfinished / CARD).write_text(_card(folder.name, config))
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _weights(module: GenerativeModule) -> dict[str, Tensor]:
    """The module's state without averages, which take the place of what they average."""
    state = {key: value for key, value in module.state_dict().items() if not key.startswith("averages.")}
    for name in module.averages:
        state |= {f"{name}.{key}": value for key, value in module.network(name).state_dict().items()}
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}


def _from_checkpoint(path: Path, trusted: Sequence[str]) -> GenerativeModule:
    stored = checkpoint_config(path, option="")["model"]
    checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    arguments = {k: v for k, v in checkpoint["hyper_parameters"].items() if k not in ("_class_path", "_instantiator")}
    module = _built(stored["class_path"], arguments, trusted, str(path))
    _load(module, checkpoint["state_dict"], str(path))
    return module


def _from_folder(folder: Path, trusted: Sequence[str]) -> GenerativeModule:
    config = _read_config(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise ValueError(f"{folder / CONFIG}: format={config.get('format')!r}; this version reads format={FORMAT}")
    module = _built(str(config.get("class_path")), config.get("init_args", {}), trusted, str(folder / CONFIG))
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder}: there is no {WEIGHTS}") from None
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS}: not a whole safetensors file ({error})") from None
    _load(module, state, str(folder / WEIGHTS))
    return module


def _built(class_path: str, arguments: dict[str, Any], trusted: Sequence[str], where: str) -> GenerativeModule:
    try:
        module = build(class_path, arguments, trusted)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not isinstance(module, GenerativeModule):
        raise ValueError(f"{where}: {class_path} is no GenerativeModule")
    return module.eval()


def _load(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
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
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not the description of a model")
    return config


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{name}: neither a file nor a folder, and not to be had from the Hugging Face Hub ({reason})"
        ) from None


def _part(module: GenerativeModule, part: str, name: str) -> nn.Module:
    parts = [key for key, child in module.named_children() if key != "averages" and list(child.parameters())]
    if part not in parts:
        raise ValueError(f"part={part!r}: the {type(module).__name__} of {name} has {', '.join(parts)}")
    return module.network(part).requires_grad_(False).eval()


def _card(name: str, config: dict[str, Any]) -> str:
    """A model card in the Hub's form."""
    facts = config["facts"]
    kind = config["class_path"].rpartition(".")[2]
    lines = ["---", "library_name: lit-gen", f"license: {facts.get('licence', 'other')}", "---", "", f"# {name}", ""]
    lines += [f"A `{kind}` of lit-gen {config['lit_gen']}.", ""]
    for key, value in facts.items():
        told = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"- **{key}**: {told}")
    lines += ["", "```python", "import lit_gen", "", f'model = lit_gen.from_pretrained("{name}")', "```", ""]
    return "\n".join(lines)
