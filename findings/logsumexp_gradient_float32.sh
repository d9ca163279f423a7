#!/usr/bin/env bash
# torch 2.14.1: the gradient of torch.logsumexp in float32 is not the softmax where its inputs lie far from zero.
#
# Seen: at inputs near -3e4, as log weights of images are, the gradient adds up to 1.0007 and each entry is off by 7e-4
# of itself; torch.softmax of the same float32 numbers is right to 1e-7. Value and inputs are ordinary, nothing warns.
# Most would guess: both take the maximum off first, so the gradient is the softmax to rounding. The forward pass does;
# the backward pass computes exp(x - result), a difference of two large rounded numbers.
# Why it matters: importance-weighted bounds, mixtures and contrastive losses take their weights from this gradient.
# Remedy: m = x.detach().amax(); m + torch.logsumexp(x - m).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import torch

x = torch.tensor([-30000.3, -30001.1, -29999.7], requires_grad=True)
torch.logsumexp(x, 0).backward()
exact = torch.softmax(x.detach().double(), 0)
error = ((x.grad.double() - exact) / exact).abs().max().item()
softmax = ((torch.softmax(x.detach(), 0).double() - exact) / exact).abs().max().item()
shifted = x.detach().clone().requires_grad_()
top = shifted.detach().amax()
(top + torch.logsumexp(shifted - top, 0)).backward()
remedy = ((shifted.grad.double() - exact) / exact).abs().max().item()
print(f"torch {torch.__version__}: gradient {x.grad.tolist()}, sum {x.grad.sum().item():.6f}")
print(f"relative error {error:.1e}; of softmax {softmax:.1e}; with the maximum taken off first {remedy:.1e}")
assert abs(x.grad.sum().item() - 1) > 3e-4, "the gradient adds up to one now"
assert error > 3e-4, "the gradient is right now"
assert softmax < 1e-6
assert remedy < 1e-6
PYTHON
