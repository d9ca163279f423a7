#!/usr/bin/env bash
# torch 2.14.1, CPU: the backward pass of InstanceNorm2d is wrong, in silence, for a batch of one image whose gradient
# arrives with channels innermost (torch.channels_last).
#
# Seen: float64, one image of 3 x 4 x 5. Given the same gradient, contiguous or with channels innermost, the input's
# gradient differs by 3.7 where its largest entry is 2.3; finite differences agree with the contiguous one to 1e-8. With two
# images both are right. The last case has no gradient of one's own: a convolution in channels_last behind the norm returns
# such a gradient, and that of the input is as wrong.
# Most would guess: a memory layout changes speed and never values; a test on a batch of two would show any error.
# What happens: instance norm is batch norm of a view, (1, N C, H, W), in which channels come first; at N = 1 a gradient with
# channels innermost keeps that layout through the view, and its numbers are taken for those of other channels and pixels.
# Why it matters: batches of one with instance norm are how CycleGAN and pix2pix are published, and channels_last is the
# usual advice for speed; losses fall all the same.
# Remedy: y.register_hook(torch.Tensor.contiguous) on the norm's output, or batch norm in its place, which is the same for
# one image and right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PYTHON'
import torch
from torch import nn


def error(images, layout):
    """Largest difference to central differences, for a fixed gradient of the norm's output."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(3)
    x = torch.randn(images, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    g = torch.randn(images, 3, 4, 5, dtype=torch.float64)
    (found,) = torch.autograd.grad(norm(x), x, g.contiguous(memory_format=layout))
    return (found - differences(lambda x: (norm(x) * g).sum(), x)).abs().max().item()


def error_before_a_convolution(layout):
    torch.manual_seed(0)
    model = nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 8, 3, padding=1)).double().to(memory_format=layout)
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)

    def loss(x):
        return model(x).square().sum()

    (found,) = torch.autograd.grad(loss(x), x)
    return (found - differences(loss, x)).abs().max().item()


def differences(loss, x, step=1e-5):
    found = torch.zeros_like(x)
    with torch.no_grad():
        for i in range(x.numel()):
            moved = torch.zeros(x.numel(), dtype=x.dtype)
            moved[i] = step
            moved = moved.view_as(x)
            found.view(-1)[i] = (loss(x + moved) - loss(x - moved)) / (2 * step)
    return found


first, last = torch.contiguous_format, torch.channels_last
found = {
    "one image, contiguous gradient": error(1, first),
    "one image, channels_last gradient": error(1, last),
    "two images, channels_last gradient": error(2, last),
    "one image before a contiguous convolution": error_before_a_convolution(first),
    "one image before a channels_last convolution": error_before_a_convolution(last),
}
print("torch", torch.__version__)
for name, value in found.items():
    print(f"{name}: off by {value:.2g}")
wrong = [name for name, value in found.items() if value > 1e-3]
assert wrong == ["one image, channels_last gradient", "one image before a channels_last convolution"], wrong
PYTHON
"$folder/env/bin/python" "$folder/run.py"
