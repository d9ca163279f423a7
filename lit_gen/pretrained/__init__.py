"""Trained models: as folders and checkpoints, shipped, of the Hub; what of them is trusted; where runs go on from.

Names are imported on first use: what lists the shipped models needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_gen.pretrained.hub import push_to_hub
    from lit_gen.pretrained.loading import from_diffusers, from_pretrained
    from lit_gen.pretrained.saving import save_pretrained
    from lit_gen.pretrained.shipped import list_pretrained

__all__ = ["from_diffusers", "from_pretrained", "list_pretrained", "push_to_hub", "save_pretrained"]

_HOMES = {
    "from_diffusers": "loading",
    "from_pretrained": "loading",
    "save_pretrained": "saving",
    "list_pretrained": "shipped",
    "push_to_hub": "hub",
}

if not TYPE_CHECKING:  # else a checker takes every unknown name for Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'lit_gen.pretrained' has no attribute {name!r}")
        return getattr(importlib.import_module(f"lit_gen.pretrained.{_HOMES[name]}"), name)
