"""Trained models as a folder of plain values and tensors, which leave the training stack and come back."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn

from lit_gen.kernels import guard_short
from lit_gen.models import AutoencoderKL, GenerativeModel
from lit_gen.pretrained.diffusers import read_diffusers
from lit_gen.pretrained.fit import Misfit, check_fit
from lit_gen.pretrained.names import take_class_names
from lit_gen.pretrained.specification import build, without_trainer
from lit_gen.pretrained.stored import (
    CONFIG,
    FORMAT,
    WEIGHTS,
    checkpoint_config,
    locate,
    plain_names,
    read_tensors,
    refuse_foreign,
)
from lit_gen.pretrained.trust import harmless

if TYPE_CHECKING:  # what trains needs Lightning, what is trained doesn't
    from lit_gen.modules import GenerativeModule

Model = TypeVar("Model", bound=GenerativeModel)


@overload
def from_pretrained(
    source: str | Path,
    part: None = None,
    revision: str | None = None,
    trusted: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    training: Literal[True] | None = None,
) -> GenerativeModule: ...
@overload
def from_pretrained(
    source: str | Path,
    part: None = None,
    revision: str | None = None,
    trusted: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    training: bool,
) -> GenerativeModel: ...
@overload
def from_pretrained(
    source: str | Path,
    part: str,
    revision: str | None = None,
    trusted: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    training: bool | None = None,
) -> nn.Module: ...
@overload
def from_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    trusted: Sequence[str] = (),
    kind: type[Model],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    training: bool | None = None,
) -> Model: ...
def from_pretrained(
    source: str | Path,
    part: str | None = None,
    revision: str | None = None,
    trusted: Sequence[str] = (),
    kind: type[GenerativeModel] = GenerativeModel,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    training: bool | None = None,
) -> nn.Module:
    """A trained model, ready to sample, encode, decode, translate or score, in eval mode.

    Only tensors and plain values are read, and only classes of this library, ``torch.optim`` and ``trusted``
    packages are imported: a file from elsewhere runs nothing of its own. What it describes is compared with its
    tensors before memory is taken for it.

    Args:
        source: A shipped name (see ``lit_gen.list_pretrained``), a folder of :func:`save_pretrained`, a checkpoint
            ``.ckpt`` of this library, or a repository ``owner/name`` of the Hugging Face Hub, from its cache if there
            is no network.
        part: One network alone, such as ``generator``, ``encoder`` or ``decoder``. Where it is to compute in 16 bits on
            a CPU by other means than ``dtype``, ``lit_gen.kernels.guard_convolutions()`` keeps it right.
        revision: Branch, tag or commit of a Hub repository.
        trusted: Further packages whose classes the file may name.
        kind: The class that the model has to be of, such as ``VAE``; a type checker then knows its methods.
        device: Where its weights go.
        dtype: What they are converted to, such as ``torch.bfloat16``; None for the precision they were trained in.
        training: Whether a Trainer is to train it on: True for the class of :mod:`lit_gen.modules`, a LightningModule;
            False for the class of :mod:`lit_gen.models` of the same name, with the same samples, which needs PyTorch
            alone and a tenth of the time. None for True where Lightning is installed, and False elsewhere.

    Returns:
        The model, with averaged weights in the place of the trained ones if they were averaged; or the part, a plain
        ``nn.Module`` without gradients.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: for a damaged file, weights that don't fit or aren't numbers, a class outside the trusted packages,
            a model that is no ``kind``, an unknown part, or a device that isn't there.
        ModuleNotFoundError: for ``training`` without Lightning.
    """
    place = check_device(device)
    trains = part is None and _trains(training)
    path = locate(source, revision)
    module = (_from_folder if path.is_dir() else _from_checkpoint)(path, trusted, trains)
    take_class_names(module, path)
    if not isinstance(module, kind):
        how = "" if trains else ", loaded without its training"
        raise ValueError(f"kind={kind.__name__}: {source} holds a {type(module).__name__}{how}")
    found = module if part is None else _part(module, part, str(source))
    guard_short(module.dtype if dtype is None else dtype)
    return found.to(place, dtype) if dtype is not None else found.to(place)


def _trains(training: bool | None) -> bool:
    """Whether the class that trains is asked for."""
    try:
        installed = importlib.util.find_spec("lightning") is not None
    except ImportError:
        installed = False
    if training and not installed:
        raise ModuleNotFoundError("training=True: needs the package lightning, which is not installed")
    return installed if training is None else training


def check_device(device: str | torch.device) -> torch.device:
    """The device of this name, if this machine has it.

    Raises:
        ValueError: naming those that there are.
    """
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device}: no such kind of device; here are {', '.join(there)}") from None
    if found.type != "cpu" and not any(name == str(found) or name.split(":")[0] == str(found) for name in there):
        raise ValueError(f"device={device}: not on this machine; here are {', '.join(there)}")
    return found


def from_diffusers(
    folder: str | Path,
    image_shape: tuple[int, ...] | None = None,
    *,
    kl_weight: float = 1e-6,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    training: bool | None = None,
) -> AutoencoderKL:
    """A KL autoencoder from a folder that diffusers' ``AutoencoderKL.save_pretrained`` has written, in eval mode.

    diffusers isn't needed. Latents are on the model's own scale, as diffusers' ``encode`` gives them: the description's
    ``scaling_factor`` is for its pipelines. The model has no discriminator; one that has starts from its weights by
    ``init_from``, given a folder that `save_pretrained` has written of it.

    Args:
        folder: With ``config.json`` and ``diffusion_pytorch_model.safetensors``, as the ``vae`` of Stable Diffusion.
        image_shape: ``(C, H, W)`` of the images; None for squares of the description's ``sample_size``.
        kl_weight: Of further training, which the folder doesn't say.
        device: Where its weights go.
        dtype: What they are converted to; None for float32.
        training: As of :func:`from_pretrained`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for a damaged file, other layers, weights that don't fit them, or a device that isn't there.
    """
    place, path = check_device(device), Path(folder)
    kind, arguments, state = read_diffusers(path, image_shape)
    arguments["bottleneck"]["init_args"]["kl_weight"] = kl_weight
    module = _built(kind, arguments, state, (), str(path / "config.json"), str(path), _trains(training))
    assert isinstance(module, AutoencoderKL)
    return module.to(place, dtype) if dtype is not None else module.to(place)


def _from_checkpoint(path: Path, trusted: Sequence[str], trains: bool) -> GenerativeModel:
    class_path, arguments, state = describe_checkpoint(path)
    return _built(class_path, arguments, state, trusted, str(path), str(path), trains)


def _from_folder(folder: Path, trusted: Sequence[str], trains: bool) -> GenerativeModel:
    class_path, arguments = describe_folder(folder)
    where, weights = str(folder / CONFIG), str(folder / WEIGHTS)
    return _built(class_path, arguments, read_tensors(folder), trusted, where, weights, trains)


def describe_checkpoint(path: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The class of a checkpoint's model, its arguments, as far as they are harmless, and its tensors.

    Raises:
        ValueError: for a file that is no whole checkpoint of this library.
    """
    class_path = checkpoint_config(path, option="")["model"]["class_path"]
    checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    arguments = {k: v for k, v in checkpoint["hyper_parameters"].items() if k not in ("_class_path", "_instantiator")}
    return class_path, harmless(arguments), plain_names(checkpoint["state_dict"])


def describe_folder(folder: Path) -> tuple[str, dict[str, Any]]:
    """The class of a model in a folder of :func:`save_pretrained` and its arguments, as far as they are harmless.

    Raises:
        FileNotFoundError: if the folder holds no model.
        ValueError: for another format, or a damaged file.
    """
    refuse_foreign(folder)
    config = _read_config(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise ValueError(f"{folder / CONFIG}: format={config.get('format')!r}; this version reads format={FORMAT}")
    return str(config.get("class_path")), harmless(config.get("init_args", {}))


def _built(
    class_path: str,
    arguments: Any,
    state: dict[str, Tensor],
    trusted: Sequence[str],
    where: str,
    weights: str,
    trains: bool,
) -> GenerativeModel:
    try:
        check_fit(class_path, arguments, state, trusted)
        module: GenerativeModel = build(
            class_path if trains else without_trainer(class_path), arguments, trusted, GenerativeModel
        )
    except Misfit as error:
        raise ValueError(f"{weights}: its weights don't fit its model: {error}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    load_weights(module, state, weights)
    return module.eval()


def load_weights(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load all tensors of a file.

    Raises:
        ValueError: if they are not those of the module.
    """
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
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for the description of a model") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not the description of a model")
    return config


def _part(module: GenerativeModel, part: str, name: str) -> nn.Module:
    parts = [key for key, child in module.named_children() if key != "averages" and list(child.parameters())]
    if part not in parts:
        raise ValueError(f"part={part!r}: the {type(module).__name__} of {name} has {', '.join(parts)}")
    return module.network(part).requires_grad_(False).eval()
