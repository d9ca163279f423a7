"""Where trained models lie, and their tensors alone: no model is built, so no class is imported."""

import hashlib
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lit_gen.cli_support import checkpoint_config
from lit_gen.shipped import PRETRAINED, list_pretrained

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
HASHES = "SHA256SUMS"  # of all shipped files, in the format of sha256sum


def locate(source: str | Path, revision: str | None = None) -> Path:
    """The checkpoint or folder that a source means: a path, a shipped name, or a repository of the Hub.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: for a shipped file that is damaged.
    """
    name, path = str(source), Path(source)
    if path.is_file() or path.is_dir():
        return path
    if name in list_pretrained():
        check_shipped(name)
        return PRETRAINED / name
    if re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name) and not name.endswith(".ckpt"):
        return _download(name, revision)
    known = ", ".join(list_pretrained()) or "none"
    raise FileNotFoundError(f"{name}: neither a file nor a folder nor a shipped model ({known})")


def check_shipped(name: str) -> None:
    """Compare a shipped model's files with the hashes they were released with.

    Raises:
        ValueError: for a file that is not the one released.
    """
    for line in (PRETRAINED / HASHES).read_text().splitlines():
        digest, path = line.split("  ")
        if path.startswith(f"{name}/") and hashlib.sha256((PRETRAINED / path).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{PRETRAINED / path}: damaged, not the file that was released; install the package again")


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint or folder by name, averages in the place of the weights they average.

    Raises:
        FileNotFoundError: for a folder without weights.
        ValueError: for a damaged file.
    """
    if path.is_dir():
        return read_tensors(path)
    checkpoint_config(path, option="")  # says what is wrong with a file that is no checkpoint
    state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)["state_dict"]
    own = {key: value for key, value in state.items() if not key.startswith("averages.")}
    return own | {re.sub(r"^averages\.(\w+)\.network\.", r"\1.", key): state[key] for key in state.keys() - own.keys()}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder of ``save_pretrained``.

    Raises:
        FileNotFoundError: if it holds none.
        ValueError: for a damaged file.
    """
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder}: there is no {WEIGHTS}") from None
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS}: not a whole safetensors file ({error})") from None


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
