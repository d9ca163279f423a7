"""Constants that PyTorch's functions load under a mask, made present."""

import torch

ENOUGH = 32  # numbers, for the widest registers


def load_constants() -> None:
    """Read the results for −0 and ∞ of `log1p`, `expm1` and powers from their pages, so that all others come fast.

    With AVX-512 these functions load such a result into those places of a register where the argument is that one
    (seen in torch 2.14.1), mostly into none. A page of the library that nobody has read yet isn't there then, nor is
    it fetched for a load of nothing, but each such load takes the processor a hundred cycles and more: cross-entropies
    of pixels, softplus and divergences twenty times as long as they need, until the page is read.
    """
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([-0.0, torch.inf], dtype=dtype, device="cpu").repeat(ENOUGH)
        for function in (torch.log1p, torch.expm1):
            function(x)
        torch.pow(x, 1.5)
