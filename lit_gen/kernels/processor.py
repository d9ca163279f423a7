"""What a processor can do, as far as forms were measured on it."""

from functools import cache

import torch


@cache
def is_zen_5() -> bool:
    """Whether this is an AMD processor of that kind, which is twice as fast as its forerunners with wide registers."""
    can = torch.cpu.get_capabilities()
    wanted = ("avx512_bf16", "avx512_vp2intersect")
    return all(can.get(name, False) for name in wanted) and "AMD" in str(can.get("cpu_name", ""))
