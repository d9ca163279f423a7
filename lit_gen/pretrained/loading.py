"""Trained models as a folder of plain values and tensors, which leave the training stack and come back."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, overload

import torch
from torch import nn

from lit_gen.kernels import guard_short
from lit_gen.models import AutoencoderKL, GenerativeModel
from lit_gen.pretrained.building import built, from_checkpoint, from_folder
from lit_gen.pretrained.codec import take_codec
from lit_gen.pretrained.diffusers import read_diffusers
from lit_gen.pretrained.names import take_class_names
from lit_gen.pretrained.stored import locate

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
    module = (from_folder if path.is_dir() else from_checkpoint)(path, trusted, trains)
    take_class_names(module, path)
    take_codec(module, path)
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
    module = built(kind, arguments, state, (), str(path / "config.json"), str(path), _trains(training))
    assert isinstance(module, AutoencoderKL)
    return module.to(place, dtype) if dtype is not None else module.to(place)


def _part(module: GenerativeModel, part: str, name: str) -> nn.Module:
    parts = [key for key, child in module.named_children() if key != "averages" and list(child.parameters())]
    if part not in parts:
        raise ValueError(f"part={part!r}: the {type(module).__name__} of {name} has {', '.join(parts)}")
    return module.network(part).requires_grad_(False).eval()
