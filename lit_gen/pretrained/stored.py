"""Where trained models lie, what checkpoints say of themselves, and tensors alone: no class is imported."""

import copy
import difflib
import functools
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lit_gen.encoded import CODEC
from lit_gen.files import UMASK, check_archive, read_json
from lit_gen.pretrained.resume import whole_before
from lit_gen.pretrained.shipped import PRETRAINED, list_pretrained
from lit_gen.pretrained.trust import harmless

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = 1  # of such a folder
# Files in which other libraries describe their models, the entry that names one, and the library.
FOREIGN = (
    ("model_index.json", "_class_name", "diffusers"),
    (CONFIG, "_class_name", "diffusers"),
    (CONFIG, "architectures", "transformers"),
)
HASHES = "SHA256SUMS"  # of all shipped files, in the format of sha256sum
# Arguments of models that the command line takes from the data, besides image_shape.
OF_DATA = ("num_classes", "bounded", "num_codes", "target_shape")
OPTIONS = "options"  # where a checkpoint keeps what its run was configured with beside model and data


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
    if is_repository(name):
        return _download(name, revision)
    known = list_pretrained()
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise FileNotFoundError(
        f"{name}: neither a file nor a folder nor a shipped model ({', '.join(known) or 'none'}){hint}"
    )


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A file of tensors that others may read, as any new file; safetensors 0.8 makes it its owner's alone."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
    os.chmod(path, 0o666 & ~UMASK)


def is_repository(name: str) -> bool:
    """Whether a source, where no file is called so, means a repository ``owner/name`` of the Hub."""
    return re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name) is not None and not name.endswith(".ckpt")


def check_shipped(name: str) -> None:
    """Compare a shipped model's files with the hashes they were released with.

    Raises:
        ValueError: for a file that is not the one released.
    """
    for line in (PRETRAINED / HASHES).read_text().splitlines():
        digest, path = line.split("  ")
        if path.startswith(f"{name}/") and hashlib.sha256((PRETRAINED / path).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{PRETRAINED / path}: damaged, not the file that was released; install the package again")


def refuse_foreign(path: Path) -> None:
    """Say what a sound file or folder of another library is.

    Raises:
        ValueError: for a safetensors file alone, or a folder of diffusers or transformers.
    """
    if path.is_dir():
        for name, key, library in FOREIGN:
            described = read_json(path / name).get(key)
            if described is not None:
                told = ", ".join(described) if isinstance(described, list) else described
                here = "; lit_gen.from_diffusers reads this one" if told == "AutoencoderKL" else ""
                raise ValueError(
                    f"{path}: a model of {library} ({told}); lit-gen reads its own folders, of save_pretrained{here}"
                )
        return
    try:
        with safe_open(path, framework="pt") as file:
            tensors = list(file.keys())
    except (SafetensorError, OSError):
        return
    shown = ", ".join(tensors[:3])
    if (path.parent / CONFIG).is_file() and path.name == WEIGHTS:
        hint = f"the model is its folder: {path.parent}"
    else:
        hint = f"lit-gen reads checkpoints and folders of {CONFIG} and {WEIGHTS}, which say what the tensors belong to"
    raise ValueError(f"{path}: a sound safetensors file of {len(tensors)} tensors ({shown}), but no model; {hint}")


def plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their names in a network that isn't wrapped: torch.compile(network) puts ``_orig_mod.`` into them."""
    return {key.replace("_orig_mod.", ""): tensor for key, tensor in state.items()}


def checkpoint_config(path: Any, option: str = "--ckpt_path ") -> dict[str, Any]:
    """Model, data and further options of a checkpoint's run as configurations; empty without one.

    Returns:
        ``model`` and ``data``, as far as they are :func:`lit_gen.pretrained.trust.harmless`; ``options``, what else
        the run was configured with; ``as_stored``, all three as the file has them; the ``global_step``, the
        ``image_shape``, ``class_names`` of a conditional model, ``codec`` of one of latents; ``run`` and ``wandb``,
        the ids of the run here and there.

    Raises:
        ValueError: if the file can't be read as a checkpoint of this library.
        FileNotFoundError: if there is no such file.
    """
    if not path:
        return {}
    path = Path(str(path))
    if not path.is_file():
        raise FileNotFoundError(f"{option}{path}: no such file")
    refuse_foreign(path)
    state = path.stat()
    return copy.deepcopy(_stored_config(path, option, (state.st_mtime_ns, state.st_size)))


@functools.lru_cache(maxsize=8)
def _stored_config(path: Path, option: str, state: tuple[int, int]) -> dict[str, Any]:
    """Of a file that isn't read again while its time and size stay: a command asks for it several times."""
    try:
        check_archive(path)
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        assert isinstance(checkpoint, dict)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        before = whole_before(path)
        hint = f"; the whole one before it: --ckpt_path {before}" if before else ""
        raise ValueError(f"{option}{path}: not a whole checkpoint ({reason}){hint}") from None
    config: dict[str, Any] = {}
    for key, name in {"model": "hyper_parameters", "data": "datamodule_hyper_parameters"}.items():
        arguments = dict(checkpoint.get(name, {}))
        if "_class_path" in arguments:
            arguments.pop("_instantiator", None)
            config[key] = {"class_path": arguments.pop("_class_path"), "init_args": arguments}
    if "model" not in config:
        raise ValueError(f"{option}{path}: not a checkpoint of lit-gen, it doesn't name its model's class")
    model = config["model"]["init_args"]
    shape = take_facts_of_data(model)
    config["options"] = checkpoint.get(OPTIONS, {})
    facts = {"global_step": checkpoint.get("global_step", 0), "image_shape": shape and list(shape)}
    counters = checkpoint.get("lit_gen")
    counters = counters if isinstance(counters, dict) else {}
    facts |= {"class_names": counters.get("class_names", []), "codec": counters.get("codec")}
    facts |= {"run": checkpoint.get("run"), "wandb": checkpoint.get("wandb_id")}
    return {**harmless(config), "as_stored": config, **facts}


def take_facts_of_data(arguments: dict[str, Any]) -> Any:
    """Take a model's arguments out that a command line asks the data for; gives its ``image_shape``."""
    for name in OF_DATA:
        arguments.pop(name, None)
    return arguments.pop("image_shape", None)


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint or folder by name, averages in the place of the weights they average.

    Raises:
        FileNotFoundError: for a folder without weights.
        ValueError: for a damaged file.
    """
    if path.is_dir():
        return read_tensors(path)
    checkpoint_config(path, option="")  # says what is wrong with a file that is no checkpoint
    state = plain_names(torch.load(path, weights_only=True, map_location="cpu", mmap=True)["state_dict"])
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
            return plain_names({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder}: there is no {WEIGHTS}") from None
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS}: not a whole safetensors file ({error})") from None


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [f"{folder}{file}" for folder in ("", f"{CODEC}/") for file in (CONFIG, WEIGHTS, CARD)]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{name}: neither a file nor a folder, and not to be had from the Hugging Face Hub ({reason})"
        ) from None


def stored_arguments(path: Path) -> dict[str, Any]:
    """What the model at a path was built with, as plain values; empty where that isn't kept."""
    if path.is_dir():
        kept = read_json(path / CONFIG).get("init_args")  # weights without a description are enough to start from
    else:
        kept = checkpoint_config(path, option="")["model"]["init_args"]
    return kept if isinstance(kept, dict) else {}


def stored_facts(source: str | Path) -> dict[str, Any]:
    """What a model's file says of its training."""
    path = locate(source)
    if path.is_dir():
        facts = read_json(path / CONFIG).get("facts")
        return facts if isinstance(facts, dict) else {}
    stored = checkpoint_config(path, option="")
    data = str(stored.get("data", {}).get("class_path", "")).rpartition(".")[2].removesuffix("DataModule")
    return {**({"data": data} if data else {}), "steps": stored["global_step"]}
