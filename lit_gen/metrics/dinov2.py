"""The vision transformer of DINOv2 (Oquab et al. 2023, arXiv:2304.07193), by the names of its released weights."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 64  # features of one attention head, in the released networks of all sizes


class VisionTransformer(nn.Module):
    """Patches and a class token, through blocks of attention and MLP; the class token, normalised, is the feature.

    Args:
        dim: features of a token, a multiple of 64.
        depth: blocks.
        patch: side of a patch in pixels.
        grid: patches along each side of the images that its positions were learned on.
        registers: tokens beside the class token and the patches (arXiv:2309.16588).
    """

    def __init__(self, dim: int = 384, depth: int = 12, patch: int = 14, grid: int = 37, registers: int = 0) -> None:
        super().__init__()
        self.dim, self.patch, self.grid = dim, patch, grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim)) if registers else None
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of the training alone, but in the files
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.blocks = nn.ModuleList(_Block(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    @classmethod
    def of_weights(cls, weights: dict[str, Tensor]) -> "VisionTransformer":
        """A network of the sizes that a released state has; the weights are not loaded.

        Raises:
            KeyError: a weight that all of them have is missing.
            ValueError: a gated MLP, as the largest one has, or sizes that don't fit each other.
        """
        dim, _, patch, _ = weights["patch_embed.proj.weight"].shape
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        grid = math.isqrt(weights["pos_embed"].shape[1] - 1)
        if "blocks.0.mlp.w12.weight" in weights:
            raise ValueError("a gated MLP, which is not supported: accepted are ViT-S, B and L")
        if dim % HEAD or grid**2 + 1 != weights["pos_embed"].shape[1]:
            raise ValueError(f"{dim} features and {weights['pos_embed'].shape[1]} positions")
        registers = weights["register_tokens"].shape[1] if "register_tokens" in weights else 0
        return cls(dim, depth, patch, grid, registers)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, dim)`` of images ``(N, 3, H, W)``, normalised; H and W are multiples of the patch's side."""
        patches = self.patch_embed["proj"](images)
        height, width = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).mT], 1)
        tokens = tokens + self.positions(height, width)
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(len(images), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens[:, 0])

    def positions(self, height: int, width: int) -> Tensor:
        """The learned positions ``(1, 1 + height * width, dim)``, scaled to another number of patches.

        As in the release: bicubic, and without registers by factors of (n + 0.1) / grid, which the features depend on;
        with registers to the size itself, antialiased.
        """
        if (height, width) == (self.grid, self.grid):
            return self.pos_embed
        learned = self.pos_embed[:, 1:].unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        if self.register_tokens is None:
            factors = ((height + 0.1) / self.grid, (width + 0.1) / self.grid)
            scaled = F.interpolate(learned, scale_factor=factors, mode="bicubic")
        else:
            scaled = F.interpolate(learned, (height, width), mode="bicubic", antialias=True)
        return torch.cat([self.pos_embed[:, :1], scaled.flatten(2).mT], 1)


class _Block(nn.Module):
    """x + γ₁ attention(norm(x)), then x + γ₂ mlp(norm(x))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = _Attention(dim), _MLP(dim)
        self.ls1, self.ls2 = _Scale(dim), _Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = dim // HEAD
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma
