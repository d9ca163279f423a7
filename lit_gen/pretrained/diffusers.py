"""KL autoencoders in the layout of diffusers' ``AutoencoderKL``: a description and weights, there and back.

diffusers itself isn't needed. Its layers are those of ``ConvEncoder`` and ``ConvDecoder`` by name; its ``quant_conv``
and ``post_quant_conv`` are the encoder's last and the decoder's first layer here.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lit_gen.models import AutoencoderKL
from lit_gen.networks import ConvDecoder, ConvEncoder, GaussianBottleneck
from lit_gen.pretrained.specification import class_path
from lit_gen.pretrained.stored import write_tensors

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
OUTER = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}
# Attention's layers as they were called before diffusers 0.12, which published weights still have.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
FIXED = {"_class_name": "AutoencoderKL", "act_fn": "silu"}
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def read_diffusers(folder: Path, image_shape: tuple[int, ...] | None) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Class, arguments and tensors of this library's model that a folder of diffusers describes.

    Args:
        folder: With ``config.json`` and ``diffusion_pytorch_model.safetensors``.
        image_shape: ``(C, H, W)``; None for squares of the description's ``sample_size``.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for a damaged file, or a model that has other layers than ours.
    """
    config = _read_config(folder / CONFIG)
    channels, side = config["in_channels"], config["sample_size"]
    sides = (side, side) if isinstance(side, int) else side
    networks = {
        "widths": list(config["block_out_channels"]),
        "blocks": config["layers_per_block"],
        "groups": config["norm_num_groups"],
        "attention": config["mid_block_add_attention"],
    }
    first, last = {"first_convolution": config["use_post_quant_conv"]}, {"last_convolution": config["use_quant_conv"]}
    shape = tuple(image_shape or (channels, *sides))
    if shape[0] != channels or config["out_channels"] != channels:
        raise ValueError(
            f"image_shape={shape}: {folder} is for {channels} channels, and gives {config['out_channels']}"
        )
    arguments = {
        "image_shape": list(shape),
        "bottleneck": _described(GaussianBottleneck, {"channels": config["latent_channels"]}),
        "encoder": _described(ConvEncoder, networks | last),
        "decoder": _described(ConvDecoder, networks | first),
        "discriminator": None,
    }
    return class_path(AutoencoderKL), arguments, _read_weights(folder / WEIGHTS)


def write_diffusers(module: Any, state: Mapping[str, Tensor], folder: Path, scaling_factor: float) -> None:
    """Write ``config.json`` and weights as diffusers reads them.

    Args:
        module: A KL autoencoder.
        state: Its weights by our names.
        folder: That is there.
        scaling_factor: By which diffusers' pipelines multiply latents; no part of the model.
    """
    encoder, decoder = module.encoder, module.decoder
    config = {
        **FIXED,
        "in_channels": module.image_shape[0],
        "out_channels": module.image_shape[0],
        "sample_size": list(module.image_shape[1:]) if len(set(module.image_shape[1:])) > 1 else module.image_shape[1],
        "latent_channels": module.bottleneck.channels,
        "block_out_channels": list(encoder.widths),
        "layers_per_block": encoder.blocks,
        "norm_num_groups": encoder.groups,
        "mid_block_add_attention": encoder.attention,
        "use_quant_conv": encoder.last_convolution,
        "use_post_quant_conv": decoder.first_convolution,
        "scaling_factor": scaling_factor,
        **{name: [kind] * len(encoder.widths) for name, kind in BLOCKS.items()},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    inner = {f"{ours}.": f"{theirs}." for theirs, ours in OUTER.items()}
    own = {key: value for key, value in state.items() if key.startswith(("encoder.", "decoder."))}
    renamed = {re.sub("|".join(map(re.escape, inner)), lambda found: inner[found[0]], k): v for k, v in own.items()}
    write_tensors(renamed, folder / WEIGHTS)


def check_layout(module: Any) -> None:
    """Refuse a model that diffusers' layers can't say.

    Raises:
        ValueError: naming what it has.
    """
    parts = {"bottleneck": GaussianBottleneck, "encoder": ConvEncoder, "decoder": ConvDecoder}
    for name, kind in parts.items():
        if type(own := getattr(module, name, None)) is not kind:
            raise ValueError(f"layout='diffusers': {name}={type(own).__name__}, it needs a {kind.__name__}")
    for name in ("widths", "blocks", "groups", "attention"):
        ours, theirs = getattr(module.encoder, name), getattr(module.decoder, name)
        if ours != theirs:
            raise ValueError(
                f"layout='diffusers': {name}={ours} of the encoder and {theirs} of the decoder must be equal"
            )
    if any(side % module.encoder.factor for side in module.image_shape[1:]):
        raise ValueError(
            f"layout='diffusers': image_shape={module.image_shape}: it pads no sides that {module.encoder.factor} "
            "doesn't divide"
        )


def _described(kind: type, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": class_path(kind), "init_args": arguments}


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a model of diffusers has {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    known = config if isinstance(config, dict) else {}
    # diffusers' own defaults of what older descriptions leave out
    known = {"mid_block_add_attention": True, "use_quant_conv": True, "use_post_quant_conv": True, **FIXED, **known}
    needed = ("in_channels", "out_channels", "latent_channels", "block_out_channels", "layers_per_block", *BLOCKS)
    if missing := [name for name in (*needed, "norm_num_groups", "sample_size") if name not in known]:
        raise ValueError(f"{path}: no description of diffusers' AutoencoderKL, it lacks {', '.join(missing)}")
    kinds = {name: sorted(set(known[name]) - {kind}) for name, kind in BLOCKS.items()}
    strange = {name: known[name] for name, value in FIXED.items() if known[name] != value}
    for name, value in {**strange, **{name: kind for name, kind in kinds.items() if kind}}.items():
        raise ValueError(f"{path}: {name}={value}: only {FIXED.get(name) or BLOCKS[name]} is known")
    return known


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a model of diffusers has {CONFIG} and {WEIGHTS}")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from None
    return dict(_our_name(name, tensor) for name, tensor in state.items())


def _our_name(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    outer, _, rest = name.partition(".")
    if outer in OUTER:
        return f"{OUTER[outer]}.{rest}", tensor
    if ".attentions." in name:
        *before, layer, kind = name.split(".")
        name = ".".join([*before, OLD_NAMES.get(layer, layer), kind])
        if kind == "weight" and tensor.ndim == 4:  # once a convolution of one pixel
            tensor = tensor[:, :, 0, 0].contiguous()
    return name, tensor
