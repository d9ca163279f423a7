"""diffusers' AutoencoderKL, written out as functions of its weights by their names."""

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


def convolution(w: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)


def norm(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    """Group norm by means and variances of its own."""
    parts = x.reshape(len(x), groups, -1)
    parts = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, correction=0, keepdim=True) + 1e-6).sqrt()
    return parts.reshape(x.shape) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def activated(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    y = norm(w, name, x, groups)
    return y * torch.sigmoid(y)


def resnet(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    y = convolution(w, f"{name}.conv1", activated(w, f"{name}.norm1", x, groups))
    y = convolution(w, f"{name}.conv2", activated(w, f"{name}.norm2", y, groups))
    return y + (convolution(w, f"{name}.conv_shortcut", x, 1, 0) if f"{name}.conv_shortcut.weight" in w else x)


def attention(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    tokens = norm(w, f"{name}.group_norm", x, groups).flatten(2).mT
    q, k, v = (tokens @ w[f"{name}.{layer}.weight"].T + w[f"{name}.{layer}.bias"] for layer in ("to_q", "to_k", "to_v"))
    mixed = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
    return x + (mixed @ w[f"{name}.to_out.0.weight"].T + w[f"{name}.to_out.0.bias"]).mT.reshape(x.shape)


def middle(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    x = resnet(w, f"{name}.resnets.0", x, groups)
    return resnet(w, f"{name}.resnets.1", attention(w, f"{name}.attentions.0", x, groups), groups)


def blocks(w: Weights, name: str) -> range:
    return range(len({key.split(".")[len(name.split("."))] for key in w if key.startswith(f"{name}.")}))


def encode(w: Weights, x: Tensor, groups: int) -> Tensor:
    """Mean and log variance, ``(N, 2 channels, h, w)``."""
    x = convolution(w, "encoder.conv_in", x)
    for i in blocks(w, "encoder.down_blocks"):
        stage = f"encoder.down_blocks.{i}"
        for j in blocks(w, f"{stage}.resnets"):
            x = resnet(w, f"{stage}.resnets.{j}", x, groups)
        if f"{stage}.downsamplers.0.conv.weight" in w:
            padded = torch.zeros(*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1, dtype=x.dtype)
            padded[..., :-1, :-1] = x
            x = convolution(w, f"{stage}.downsamplers.0.conv", padded, 2, 0)
    x = middle(w, "encoder.mid_block", x, groups)
    x = convolution(w, "encoder.conv_out", activated(w, "encoder.conv_norm_out", x, groups))
    return convolution(w, "quant_conv", x, 1, 0)


def decode(w: Weights, z: Tensor, groups: int) -> Tensor:
    """Images ``(N, C, H, W)``."""
    x = convolution(w, "decoder.conv_in", convolution(w, "post_quant_conv", z, 1, 0))
    x = middle(w, "decoder.mid_block", x, groups)
    for i in blocks(w, "decoder.up_blocks"):
        stage = f"decoder.up_blocks.{i}"
        for j in blocks(w, f"{stage}.resnets"):
            x = resnet(w, f"{stage}.resnets.{j}", x, groups)
        if f"{stage}.upsamplers.0.conv.weight" in w:
            x = convolution(w, f"{stage}.upsamplers.0.conv", F.interpolate(x, scale_factor=2, mode="nearest"))
    return convolution(w, "decoder.conv_out", activated(w, "decoder.conv_norm_out", x, groups))
