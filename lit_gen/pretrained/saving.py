"""Trained models as a folder of plain values and tensors, written whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lit_gen import __version__
from lit_gen.encoded import CODEC
from lit_gen.files import whole_folder
from lit_gen.models import GenerativeModel
from lit_gen.models.class_names import enumerated
from lit_gen.pretrained.codec import write_codec
from lit_gen.pretrained.diffusers import check_layout, write_diffusers
from lit_gen.pretrained.names import KEY
from lit_gen.pretrained.stored import CARD, CONFIG, FORMAT, WEIGHTS, write_tensors


def save_pretrained(
    module: GenerativeModel,
    folder: str | Path,
    facts: Mapping[str, Any] | None = None,
    name: str | None = None,
    dtype: torch.dtype | None = None,
    layout: Literal["lit-gen", "diffusers"] = "lit-gen",
) -> None:
    """Write ``config.json``, ``model.safetensors`` and a model card; the folder appears whole or not at all.

    Where weights are averaged, the averages are written in the place of the trained ones. The codec of a model of
    latents is copied into the folder ``codec`` in it, so that it draws pictures with no other file.

    Args:
        module: A trained model.
        folder: A new folder, or an empty one.
        facts: What the card says, as plain values by name: data, protocol, scores, commit, licence, …
        name: By which the card calls and loads it; the folder's by default.
        dtype: What matrices and kernels are rounded to, such as ``torch.float16`` for a file of half the size; biases,
            statistics and whole numbers stay as they are. Models are read in float32 from any.
        layout: "diffusers" for a KL autoencoder as diffusers' ``AutoencoderKL.from_pretrained`` reads it:
            ``config.json`` and ``diffusion_pytorch_model.safetensors``, with the fact ``scaling_factor``, else 1.

    Raises:
        ValueError: if the folder holds something, the module can't be described by plain values, or diffusers has no
            such model.
    """
    if layout not in ("lit-gen", "diffusers"):
        raise ValueError(f"layout={layout!r}: 'lit-gen' or 'diffusers'")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={folder}: exists already and is not empty")
    if layout == "diffusers":
        check_layout(module)
        with whole_folder(folder) as unfinished:
            write_diffusers(module, _weights(module, None), unfinished, float((facts or {}).get("scaling_factor", 1.0)))
        return
    arguments = dict(module.hparams)
    if module.averages:
        arguments["ema_half_life"] = None  # the averages become the weights
    config = {
        "format": FORMAT,
        "lit_gen": __version__,
        "class_path": arguments.pop("_class_path"),
        "init_args": {key: value for key, value in arguments.items() if key != "_instantiator"},
        "facts": dict(facts or {}),
        **({KEY: list(module.class_names)} if module.class_names else {}),
        **({} if module.codec is None else {"codec": module.codec.encoded.at(CODEC).as_dict()}),
    }
    content = json.dumps(config, indent=2, default=list) + "\n"
    with whole_folder(folder) as unfinished:
        (unfinished / CONFIG).write_text(content)
        write_tensors(_weights(module, dtype), unfinished / WEIGHTS)
        (unfinished / CARD).write_text(_card(name or folder.name, config))
        if module.codec is not None:
            write_codec(module.codec, unfinished / CODEC)


def _weights(module: GenerativeModel, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The module's state without averages, which take the place of what they average; matrices in another type."""
    state = {key: value for key, value in module.state_dict().items() if not key.startswith("averages.")}
    for name in module.averages:
        state |= {f"{name}.{key}": value for key, value in module.network(name).state_dict().items()}
    if dtype is not None:
        state = {key: x.to(dtype) if x.ndim > 1 and x.is_floating_point() else x for key, x in state.items()}
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}


def _card(name: str, config: dict[str, Any]) -> str:
    """A model card in the Hub's form."""
    facts = config["facts"]
    kind = config["class_path"].rpartition(".")[2]
    lines = ["---", "library_name: lit-gen", f"license: {facts.get('licence', 'other')}", "---", "", f"# {name}", ""]
    lines += [f"A `{kind}` of lit-gen {config['lit_gen']}.", ""]
    for key, value in facts.items():
        told = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"- **{key}**: {told}")
    if codec := config.get("codec"):
        told = f"the `{codec['class_path'].rpartition('.')[2]}` in `{CODEC}` (sha256 {codec['sha256'][:12]})"
        lines.append(f"- **codec**: its {codec['kind']} are of {told}")
    if names := config.get(KEY):
        lines.append(f"- **classes**: {enumerated(names)}")
    lines += ["", "```python", "import lit_gen", "", f'model = lit_gen.from_pretrained("{name}")', "```", ""]
    return "\n".join(lines)
