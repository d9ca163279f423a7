"""Directions as a folder of plain values and tensors, which knows the model that they belong to."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lit_gen.files import read_json, whole_file
from lit_gen.latent_space.directions import Directions, network_of_latents
from lit_gen.models import GenerativeModel

DESCRIPTION, VECTORS = "directions.json", "directions.safetensors"
FORMAT = 1


def fingerprint(model: GenerativeModel) -> str:
    """The SHA-256 of names, shapes and values of the network that takes the latents: its average, if one is kept."""
    found = hashlib.sha256()
    for name, tensor in sorted(network_of_latents(model).state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().double().contiguous().numpy().tobytes())
    return found.hexdigest()


def save_directions(folder: str | Path, model: GenerativeModel, source: str, kinds: Iterable[Directions]) -> None:
    """Write ``directions.safetensors``, a vector ``(latent_dim,)`` by name, and ``directions.json`` about them.

    Args:
        folder: There already.
        model: That they belong to.
        source: What the model is called.
        kinds: The directions.
    """
    folder, kinds = Path(folder), list(kinds)
    description = {
        "format": FORMAT,
        "model": {"source": source, "class": type(model).__name__, "sha256": fingerprint(model)},
        "directions": {
            name: {"weight": weight}
            for kind in kinds
            for name, weight in zip(kind.names, kind.weights.tolist(), strict=True)
        },
    }
    vectors = {
        name: vector.clone() for kind in kinds for name, vector in zip(kind.names, kind.vectors.cpu(), strict=True)
    }
    with whole_file(folder / VECTORS) as file:
        file.write(save(vectors))
    with whole_file(folder / DESCRIPTION) as file:
        file.write((json.dumps(description, indent=2) + "\n").encode())


def load_direction(path: str | Path, model: GenerativeModel) -> Tensor:
    """A direction ``(latent_dim,)`` of the model, of length 1.

    Args:
        path: ``FOLDER/NAME``.
        model: That it was found in.

    Raises:
        FileNotFoundError: for a folder without directions.
        ValueError: for a name that isn't there, a damaged file, or directions of another model.
    """
    path = Path(path)
    folder, name = path.parent, path.name
    known = path if (path / DESCRIPTION).is_file() else folder
    if not (known / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder}: holds no directions; lit-gen directions MODEL --out {folder} makes some")
    description = read_json(known / DESCRIPTION)
    names = list(description.get("directions", {}))
    if known == path or name not in names:
        raise ValueError(f"{path}: name one of the directions in {known}: {', '.join(names)}")
    own = description.get("model", {})
    if own.get("sha256") != fingerprint(model):
        raise ValueError(
            f"{path}: of another model, the {own.get('class')} of {own.get('source')}, or of other weights of it"
        )
    try:
        with safe_open(folder / VECTORS, framework="pt") as file:
            vector = file.get_tensor(name)
    except (SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"{folder / VECTORS}: not the directions of {DESCRIPTION} ({error})") from None
    if vector.shape != (model.latent_dim,) or not bool(torch.isfinite(vector).all()):
        raise ValueError(f"{path}: a vector of shape {tuple(vector.shape)}, not ({model.latent_dim},), or no numbers")
    return vector.to(model.device, model.dtype)
