"""A transformer of codes, each seen by those after it: GPT-2's layers, of PyTorch's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.networks.base import CodeNetwork, at_least_one

SCALE = 0.02  # of first weights
WIDER = 4  # inner layer of the perceptron


class Past:
    """Keys and values of the positions so far, of one layer.

    Args:
        length: positions that there will be.
    """

    def __init__(self, length: int) -> None:
        self.length, self.position = length, 0
        self.keys_and_values: Tensor | None = None

    def with_next(self, new: Tensor) -> Tensor:
        """Add those of the next position, `(2, N, heads, 1, d)`; all so far, `(2, N, heads, position, d)`."""
        if self.keys_and_values is None:
            self.keys_and_values = new.new_empty(*new.shape[:3], self.length, new.shape[-1])
        self.keys_and_values[..., self.position, :] = new[..., 0, :]
        self.position += 1
        return self.keys_and_values[..., : self.position, :]


class CausalAttention(nn.Module):
    """Attention of several heads, of each position to itself and those before it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """`(N, L, width)` to the same; with the `past`, of which x is the one next position, to that one's."""
        query, *others = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        key, value = others if past is None else past.with_next(torch.stack(others))
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=past is None)
        return self.out(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads, dropout)
        self.perceptron = nn.Sequential(nn.Linear(width, WIDER * width), nn.GELU(), nn.Linear(WIDER * width, width))
        self.drop = nn.Dropout(dropout)

    def ends(self) -> list[nn.Linear]:
        """The last layers of both branches."""
        last: Any = self.perceptron[-1]
        return [self.attention.out, last]

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """`(N, L, width)` to the same."""
        x = x + self.drop(self.attention(self.norm_attention(x), past))
        return x + self.drop(self.perceptron(self.norm_perceptron(x)))


class CodeTransformer(CodeNetwork):
    """A decoder-only transformer (Radford et al. 2019, GPT-2), as VQGAN's prior (Esser et al. 2021, arXiv:2012.09841).

    Layer norm comes first in each block; the sequence begins with a learned vector, one for each class if there are
    classes, and every position has one of its own, which is added. First weights are N(0, 0.02²), those of the layers
    that end a residual branch divided by √(2 depth).

    Args:
        map_size: `(h, w)` of an image's codes.
        codes: how many there are to choose from.
        num_classes: number of classes, 0 for none.
        width: of the vectors.
        depth: blocks.
        heads: of the attention, a divisor of the width.
        dropout: share of values left out in training: of the sum of embeddings, attention and both branches.
        tied: whether a code's vector at the input is that of its logit too.

    Raises:
        ValueError: for sizes below 1, heads that don't divide the width, or a share outside of [0, 1).
    """

    def __init__(
        self,
        map_size: tuple[int, int],
        codes: int,
        num_classes: int = 0,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        dropout: float = 0.0,
        tied: bool = False,
    ):
        super().__init__(map_size, codes, num_classes)
        at_least_one(self, width=width, depth=depth, heads=heads)
        if width % heads:
            raise ValueError(f"width={width}, heads={heads}: {type(self).__name__} needs heads that divide the width")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: {type(self).__name__} needs a share in [0, 1)")
        self.start = nn.Embedding(max(1, num_classes), width)
        self.code, self.place = nn.Embedding(codes, width), nn.Embedding(self.length, width)
        self.drop = nn.Dropout(dropout)
        blocks = [Block(width, heads, dropout) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.logits = nn.LayerNorm(width), None if tied else nn.Linear(width, codes, bias=False)
        self.apply(_initialise)
        for layer in (layer for block in blocks for layer in block.ends()):
            nn.init.normal_(layer.weight, std=SCALE / math.sqrt(2 * depth))

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits `(N, h w, codes)`, all positions at once; the last code has a say in none."""
        x = torch.cat([self._started(len(indices), labels), self.code(indices[:, :-1])], 1)
        x = self.drop(x + self.place.weight)
        for block in self.blocks:
            x = block(x)
        return self._logits_of(x)

    def drawn(self, n: int, choose: Callable[[Tensor, int], Tensor], labels: Tensor | None = None) -> Tensor:
        """Indices `(n, h w)`; keys and values of earlier positions are kept, so that each is computed once."""
        if self.num_classes or labels is not None:
            self._check_labels(labels, n)
        x, found = self._started(n, labels), []
        pasts = [Past(self.length) for _ in self.blocks]
        for position in range(self.length):
            x = self.drop(x + self.place.weight[position])
            for block, past in zip(self.blocks, pasts, strict=True):
                x = block(x, past)
            found.append(choose(self._logits_of(x[:, 0]), position))
            x = self.code(found[-1][:, None])
        return torch.stack(found, 1)

    def _started(self, n: int, labels: Tensor | None) -> Tensor:
        """What stands in front of the codes, `(n, 1, width)`."""
        return self.start.weight.expand(n, 1, -1) if labels is None else self.start(labels)[:, None]

    def _logits_of(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return F.linear(x, self.code.weight) if self.logits is None else self.logits(x)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Linear, nn.Embedding)):
        nn.init.normal_(layer.weight, std=SCALE)
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
