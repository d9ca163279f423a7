#!/usr/bin/env bash
# lpips 0.1.4: the gradient is NaN wherever no channel of a feature map is active.
#
# Seen: normalize_tensor divides by sqrt(sum of squares over channels) + 1e-10. The value at a position whose channels are all 0
# is 0, and finite; the gradient there is NaN, as the square root has none at 0. Features behind a ReLU have such positions.
# torchmetrics 1.9.0, which most take for the same computation, has the square root of 1e-8 + the sum, and a gradient of 0.
# Most would guess: the 1e-10 that keeps the value finite does the same for the gradient.
# Why it matters: as a training loss, one such position makes all gradients of the batch NaN while the logged loss looks well.
# Remedy: take torchmetrics' function, or add the small number under the root.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet lpips==0.1.4 torchmetrics==1.9.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
import lpips
import torch
from torchmetrics.functional.image.lpips import _normalize_tensor

torch.manual_seed(0)
features = torch.randn(1, 4, 2, 2).relu()
features[..., 0, 0] = 0  # nothing is active at this position
found = {}
for name, normalise in {"lpips": lpips.normalize_tensor, "torchmetrics": _normalize_tensor}.items():
    x = features.clone().requires_grad_()
    value = normalise(x)
    gradient = torch.autograd.grad(value.square().sum(), x)[0]
    found[name] = bool(value.isfinite().all()), bool(gradient.isfinite().all())
    print(f"{name}: values finite {found[name][0]}, gradients finite {found[name][1]}, "
          f"at the silent position {gradient[0, :, 0, 0].tolist()}")
assert found == {"lpips": (True, False), "torchmetrics": (True, True)}, "it has changed"
PYTHON
