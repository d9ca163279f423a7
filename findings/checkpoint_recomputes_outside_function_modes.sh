#!/usr/bin/env bash
# torch 2.14.1: torch.utils.checkpoint(use_reentrant=False) recomputes without the TorchFunctionMode that its forward pass
# ran under, and the gradient is wrong in silence.
#
# Seen: under a mode that answers torch.sin by torch.cos, exp(sin(x)) at x = 1 has the value exp(cos(1)) = 1.7165 with and
# without a checkpoint, but the gradient -1.4444 without and -1.9520 with one, even where backward is called inside the mode.
# Most would guess: the recomputation is the forward pass again; it brings autocast and random numbers back, so other state
# of the forward pass too, or at least determinism_check finds the difference.
# What happens: autocast and random state are restored, function modes are not. The recomputed tensors come from the other
# operation; the check compares shapes, types and devices alone, and they agree.
# Why it matters: modes are how faster or quantised kernels, counting and tracing are put below a model that isn't changed;
# a step whose forward pass alone runs under one trains by gradients of another function, without any message.
# Remedy: enter the mode again by checkpoint's context_fn. To stay in it does not help, as Tensor.backward is itself an
# operation that the mode answers, and modes are off while they answer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PYTHON'
import math
from contextlib import nullcontext

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint


class CosForSin(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (torch.cos if func is torch.sin else func)(*args, **(kwargs or {}))


def layer(x):
    return torch.sin(x).exp()


def value_and_gradient(call, inside):
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    with CosForSin():
        y = call(x)
        if inside:
            y.backward()
    if not inside:
        y.backward()
    return y.item(), x.grad.item()


def kept(x):
    return checkpoint(layer, x, use_reentrant=False)


def entered_again(x):
    return checkpoint(layer, x, use_reentrant=False, context_fn=lambda: (nullcontext(), CosForSin()))


print("torch", torch.__version__)
cases = {"plain": (layer, False), "checkpoint": (kept, False), "backward inside": (kept, True)}
found = {name: value_and_gradient(*case) for name, case in {**cases, "context_fn": (entered_again, False)}.items()}
print(found)
right, wrong = -math.sin(1) * math.exp(math.cos(1)), -math.sin(1) * math.exp(math.sin(1))
assert all(math.isclose(value, math.exp(math.cos(1))) for value, _ in found.values()), "another value than expected"
assert math.isclose(found["plain"][1], right), "another gradient without a checkpoint"
assert math.isclose(found["context_fn"][1], right), "context_fn is no remedy any more"
for name in ("checkpoint", "backward inside"):
    assert math.isclose(found[name][1], wrong), f"{name}: not the gradient that was seen; the behaviour has changed"
PYTHON
"$folder/env/bin/python" "$folder/run.py"
